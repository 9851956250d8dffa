"""One verb per method; transactions begin and end here."""

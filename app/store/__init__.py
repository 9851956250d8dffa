"""Everything the broker keeps, in Postgres; rows never leave this package."""

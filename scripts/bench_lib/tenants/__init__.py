"""The delay of one project while another does its worst."""

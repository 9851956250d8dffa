"""The history of the database schema, as Alembic runs it."""

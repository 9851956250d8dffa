"""Row-level security: the roles of the database, and the scope of each transaction."""

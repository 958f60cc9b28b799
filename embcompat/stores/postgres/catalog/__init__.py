"""What PostgreSQL's catalog records of a table and of everything that depends on it."""

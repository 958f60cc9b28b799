"""What PostgreSQL's catalog says about a table and everything that hangs on it."""

"""How rows travel between PostgreSQL and arrays."""

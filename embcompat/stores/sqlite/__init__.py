"""vec0 tables of sqlite-vec, in one SQLite file."""

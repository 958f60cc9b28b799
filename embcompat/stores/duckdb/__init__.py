"""DuckDB tables as galleries."""

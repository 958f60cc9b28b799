"""PostgreSQL tables with pgvector as galleries."""

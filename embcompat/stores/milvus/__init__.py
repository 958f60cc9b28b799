"""Milvus collections behind an alias, in a file of Milvus Lite or on a server."""

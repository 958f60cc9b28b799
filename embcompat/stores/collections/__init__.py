"""Migrations into a second collection (or table), which takes over the name of the first.

The stores whose collections have vectors of one length share this engine: SQLite, Chroma, Milvus, OpenSearch.
"""

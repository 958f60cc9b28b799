"""OpenSearch and Elasticsearch indexes with vectors, behind an alias or under a name of their own."""

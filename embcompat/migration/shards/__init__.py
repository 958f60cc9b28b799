"""One conversion on many machines without a cluster: a plan, shards that any scheduler starts, and a last check."""

"""What re-embedding a part of a gallery buys: a metric against the fraction that is native."""

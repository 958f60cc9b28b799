"""What re-embedding a part of a gallery gains: a metric against the fraction that is native."""

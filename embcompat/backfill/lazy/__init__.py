"""Re-embed what queries bring up, and keep it."""

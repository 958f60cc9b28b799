"""Re-embed the items that queries retrieve, and keep their vectors."""

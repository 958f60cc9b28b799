"""Replace an embedding model without throwing away the vectors you have stored."""

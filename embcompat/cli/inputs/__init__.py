"""What several commands read: embeddings, items, images, texts by id, and the options that name them."""

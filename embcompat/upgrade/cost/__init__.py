"""What the modes cost: what the new model embeds, and quality against cost."""

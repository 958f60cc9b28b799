"""The verdict: the modes that could be chosen, which one, and why."""

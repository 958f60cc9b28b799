"""embcompat by the conventions of other libraries, each needing its own package."""

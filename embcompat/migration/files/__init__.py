"""From file to file: one file of vectors, a folder of them on several machines, a snapshot of a store."""

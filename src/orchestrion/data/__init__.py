"""Data sets: what a folder of music holds, and batches cut out of it."""

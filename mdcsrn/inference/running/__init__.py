"""Run a network over a whole volume within a memory budget: slabs, tiles, streaming."""

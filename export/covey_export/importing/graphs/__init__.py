"""The served graph, built from the original's, and the path from the original's own input through it."""

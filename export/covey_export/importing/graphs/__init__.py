"""The graph that is served, made of the original's, and how its own clients' input runs through it."""

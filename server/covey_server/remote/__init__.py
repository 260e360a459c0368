"""Models that lie in an object store: mirrored into a folder on this machine, which models/ follows as any other. Knows
neither models/ nor what a model is. fsspec and its kin are imported once a URL is given, not before."""

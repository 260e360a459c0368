"""One version of a model: its file, its session, whether it computes what it should."""

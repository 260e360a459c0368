"""Proves that an import computes what the original does: images, the comparison, the usual mistakes, variants."""

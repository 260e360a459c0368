"""Whether an import computes what the original does: images for that, the comparison, the usual mistakes, variants."""

"""Encoded images to pixels, and the limits for that."""

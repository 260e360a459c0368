"""Decodes encoded images to pixels, within limits."""

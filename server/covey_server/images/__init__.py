"""Encoded images to pixels, and what that may take."""

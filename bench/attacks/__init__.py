"""Attacks on a running server of this machine, and what they cost it and its other callers."""

"""Variants of a model that compute in fewer bits, and whether they are faster."""

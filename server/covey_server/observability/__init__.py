"""Metrics, health, and the port that shows them."""

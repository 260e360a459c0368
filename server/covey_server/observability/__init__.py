"""Metrics: what is counted, and the port that shows it."""

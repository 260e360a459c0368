"""Metrics, health, and the port that shows them; the log, the access log and traces."""

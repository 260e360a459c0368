"""What fronts and protocols share: a call, and the table of statuses."""

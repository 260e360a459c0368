"""What fronts and protocols share: a call, what a service is, and the table of statuses."""

"""The pictures of a report, each a function from numbers to a Picture. Computes nothing that is worth keeping."""

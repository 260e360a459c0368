"""`covey label`: captured images get their true classes, from people. Imported by the command alone."""

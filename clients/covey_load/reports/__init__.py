"""Shows the results of a load test: as text, as a JSON file, as a page of charts. Measures nothing."""

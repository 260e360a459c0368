"""What a load test measured, shown: as text, as a JSON file, as a page of charts. Measures nothing."""

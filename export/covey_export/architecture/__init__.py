"""A network's layers with the arithmetic behind their sizes, parameters and cost: `covey show`."""

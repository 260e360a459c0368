"""What callers say: one folder for each protocol, and the way of a request that all of them share."""

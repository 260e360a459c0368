"""`covey try`: trains variants of a network or recipe and compares them by images kept from the training set."""

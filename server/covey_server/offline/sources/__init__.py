"""The sources of images: each gives them one by one, in an order that does not change."""

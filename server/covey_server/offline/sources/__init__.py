"""Where the images come from: each source gives them one by one in an order that does not change."""

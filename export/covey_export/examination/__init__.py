"""`covey examine`: how a published model does on changed images and on unknown ones, and how certain it is."""

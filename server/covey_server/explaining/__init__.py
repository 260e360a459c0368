"""Shows what happens inside a model: its layers, their answers to an image, heat maps, single units.

Runs apart from serving: in sessions of its own, on one thread at the lowest priority.
"""

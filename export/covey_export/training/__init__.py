"""Training: recipes, augmentation, optimization and the loop, on one machine or on several. run.py is the way in."""

"""The commands `covey load` and `covey doctor`."""

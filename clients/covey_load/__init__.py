"""The load test: `covey load`, `covey load compare` and `covey doctor`."""

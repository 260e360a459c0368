"""Tests of the `covey` package: the SDK and the command line."""

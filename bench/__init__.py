"""Benchmarks: `python -m bench`, run from the root of the project.

Every figure stands beside a floor measured in the same run, because the machine is shared and noisy: the
ratio is what can be compared from day to day, the microseconds are not. Nothing here is installed or
imported by the four packages.
"""

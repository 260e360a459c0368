"""What is measured: one file per kind of load. A scenario takes a Run and gives rows.

Floors and servers take turns within every round, so that a busy neighbour slows both; the median of the rounds is
reported. Before the first round each is warmed up by a load that does not count.
"""

"""A server of several processes that share its ports (`--processes N`).

One parent (`supervisor`) starts the processes, replaces those that end, and drains them all. It loads no model and
takes no calls. Each process is a whole server (`member`, with an App of its own): the kernel gives it a share of the
connections. The two sides talk over a socket (`channel`), which also tells a process that its parent is gone.
"""

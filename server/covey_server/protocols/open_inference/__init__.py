"""The Open Inference Protocol, as clients of Triton and KServe speak it, beside covey.v1: one service, the same
queue."""

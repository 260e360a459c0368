"""Reads a source: its network becomes an ONNX file, and what it says of itself a `Contract`.

The `torch_` modules alone import torch.
"""

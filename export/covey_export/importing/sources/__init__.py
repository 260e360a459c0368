"""What a source is and what it says of itself: each becomes an ONNX file and a `Contract`.

The `torch_` modules alone import torch.
"""

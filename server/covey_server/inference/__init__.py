"""One version of a model: its file, its onnxruntime session, its golden check and its cost."""

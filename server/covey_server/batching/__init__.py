"""Everything that waits: admission, the queues, the forming of batches. Knows neither gRPC, onnxruntime nor metrics."""

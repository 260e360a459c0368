"""Which models are served: the folder they lie in, the versions that pass, the catalog that requests are answered from,
and the watch that keeps it up to date. Knows neither gRPC, onnxruntime, batching nor metrics."""

"""Admission, queues, the forming and running of batches. Imports neither gRPC, onnxruntime nor prometheus_client."""

"""The HTTP server: svfit's own routes, the Open Inference Protocol v2, limits, access, metrics."""

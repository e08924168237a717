"""From an adapter to a checked bundle: basis and adapter files, fold, ONNX, quantization."""

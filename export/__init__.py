"""From an adapter to a checked bundle: basis and adapter files, fold, ONNX, quantization."""

import serve as serve  # before onnxruntime, whose reports it turns off

"""Answer from a bundle: numpy, onnxruntime and tokenizers, nothing else."""

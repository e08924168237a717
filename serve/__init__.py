"""Answer from a bundle: numpy, onnxruntime and tokenizers, nothing else."""

import os

# onnxruntime (1.32 on Linux) reports its use to its maker unless this is set before it is imported; whoever wants
# that sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

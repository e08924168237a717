"""From labelled rows to an adapter: data, basis, fine-tuning; the command line and the run."""

import serve as serve  # before onnxruntime, whose reports it turns off

__version__ = "0.1.0"

"""Answer with one adapter of a swappable bundle by onnxruntime and tokenizers alone: nothing of svfit is used.

python examples/native_adapter.py site.bundle site.bundle/adapters/returns "it arrived broken"
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

_, bundle, adapter, *texts = sys.argv
card = json.loads(Path(adapter, "adapter.json").read_text("utf-8"))["card"]
tokenizer = Tokenizer.from_file(str(Path(bundle, "tokenizer.json")))
tokenizer.enable_truncation(card["max_length"])
row = tokenizer.encode(*texts)
tensors = {"input_ids": [row.ids], "attention_mask": [row.attention_mask], "token_type_ids": [row.type_ids]}

ort.set_default_logger_severity(3)  # it warns that values can be handed in, which is the point of them
for graph, values in (("model.onnx", "sigma.onnx_adapter"), ("head.onnx", "head.onnx_adapter")):
    session, active, options = ort.InferenceSession(Path(bundle, graph)), ort.LoraAdapter(), ort.RunOptions()
    active.Load(str(Path(adapter, values)))
    options.add_active_adapter(active)
    outputs = session.run(None, {one.name: np.asarray(tensors[one.name]) for one in session.get_inputs()}, options)
    tensors |= {one.name: value for one, value in zip(session.get_outputs(), outputs, strict=True)}

print(card["labels"][outputs[0].argmax()] if card["labels"] else outputs[0].item())  # noqa: T201

"""The rival without adapters: a merged ONNX model for each task, each in an onnxruntime session of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from common import Files
from numpy.typing import NDArray
from onnx.compose import merge_models
from onnx.external_data_helper import load_external_data_for_tensor

from serve.adapters.adapter import LoadedAdapter, read_adapter
from serve.bundle import Bundle
from serve.promotion.fold import StoredWeights, fold_weights
from serve.session import load, session_options
from serve.settings import Settings
from serve.tokenize import TextTokenizer


class MergedModels:
    """Tasks "task-0", "task-1", ..., each merged into a model file of its own, loaded, and the file deleted."""

    def __init__(self, bundle: Bundle, adapters: Iterable[Files], *, threads: int) -> None:
        self._tokenizer = TextTokenizer(bundle)
        self._sessions: dict[str, Any] = {}
        for number, files in enumerate(adapters):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.onnx"
                onnx.save(merged(bundle, read_adapter(files, bundle.manifest)), str(path))
                self._sessions[f"task-{number}"] = load(path, session_options(Settings(threads)))
        self.tasks = list(self._sessions)

    def split(self, texts: Sequence[str], tasks: Sequence[str]) -> list[NDArray[np.float32]]:
        """Logits for each row: a run for each task's rows, in its session."""
        answers: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(texts)
        for task in dict.fromkeys(tasks):
            places = [place for place, one in enumerate(tasks) if one == task]
            (logits,) = self._sessions[task].run(None, self._tokenizer([texts[place] for place in places]))
            for place, row in zip(places, logits, strict=True):
                answers[place] = row
        return answers


def merged(bundle: Bundle, adapter: LoadedAdapter) -> onnx.ModelProto:
    """A bundle's backbone and head with one adapter in their weights: one model, all in one file."""
    swap = bundle.manifest.swap
    assert swap is not None  # noqa: S101  (read_adapter refused it otherwise)
    with StoredWeights(bundle.path / swap.weights) as weights:
        own = dict(fold_weights(swap, weights, adapter.sigma))
    backbone = onnx.load(str(bundle.path / swap.fold), load_external_data=False)
    head = onnx.load(str(bundle.path / swap.head(adapter.head).file))
    own |= adapter.weights
    for graph in (backbone.graph, head.graph):
        for tensor in graph.initializer:
            if tensor.name in own:
                tensor.CopyFrom(onnx.numpy_helper.from_array(own[tensor.name], tensor.name))
            elif tensor.data_location == onnx.TensorProto.EXTERNAL:
                load_external_data_for_tensor(tensor, str(bundle.path))
                tensor.data_location = onnx.TensorProto.DEFAULT
                del tensor.external_data[:]
        for value in [value for value in graph.input if value.name in own]:
            graph.input.remove(value)
    joints = [(name, name) for name in swap.head(adapter.head).inputs if name in swap.outputs]
    return merge_models(backbone, head, io_map=joints, outputs=[swap.head(adapter.head).output])

"""Tiny models of an architecture made swappable, beside the PyTorch model that says what they must answer.

For the tests of `export` only: it leans on tests/export/architecture_cases.py.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import torch
from architecture_cases import LENGTH, PAD, VOCABULARY, Case
from numpy.typing import NDArray
from safetensors.numpy import load_file

from export.parity import Batch, random_batches
from export.swap.build import BACKBONE_FILE, FOLD_FILE, WEIGHTS_FILE, HeadGraph, SwapFiles, build_swap
from export.swap.cut import HEAD_FILE
from export.swap.draft import swap_spec
from export.swap.inject import LayerPlan
from export.swap.shapes import PROBES
from pipeline.svf.inject import head_modules
from pipeline.svf.targets import find_targets
from pipeline.svf.weights import oriented_weight
from serve.promotion.fold import fold_weights
from serve.swap import CLASSES, Form

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SHAPES = ((1, 5), (3, 9), (4, 24))  # none of them is a probe of the surgery
Floats = NDArray[np.float32]
Arrays = Mapping[str, NDArray[Any]]


def every_form(place: int) -> Form:
    """The form of a model's layers in turn: bypass, factored, untouched, factored, bypass, and again."""
    forms: tuple[Form, ...] = ("bypass", "factored", "untouched", "factored", "bypass")
    return forms[place % len(forms)]


def all_bypass(place: int) -> Form:
    return "bypass"


def make_plans(model: PreTrainedModel, form: Any = every_form) -> dict[str, LayerPlan]:
    """What each linear layer outside the head carries: every second direction in bypass form, all in factored."""
    plans = {}
    for place, (name, module) in enumerate(find_targets(model, "all-linear", head_modules(model)).items()):
        U, s, Vh = np.linalg.svd(oriented_weight(module).detach().numpy().astype(np.float64), full_matrices=False)
        chosen: Form = form(place)
        step = {"bypass": range(0, len(s), 2), "factored": range(len(s)), "untouched": range(0)}[chosen]
        kept = list(step)
        A, B = Vh.T[:, kept].astype(np.float32), U.T[kept].astype(np.float32)
        plans[name] = LayerPlan(chosen, len(s), tuple(kept), A, s[kept].astype(np.float32), B)
    return plans


def whole_parameters(model: PreTrainedModel) -> dict[str, int | None]:
    """The head's parameters, and the axis of each that counts classes: the last layer's first."""
    heads = tuple(f"{name}." for name in head_modules(model))
    found = {name: value for name, value in model.named_parameters() if name.startswith(heads)}
    return {name: 0 if value.shape[0] == model.config.num_labels else None for name, value in found.items()}


def make_batches(
    case: Case, model: PreTrainedModel, shapes: Sequence[tuple[int, int]], side: str = "right"
) -> list[Batch]:
    """`export.parity.random_batches` for a case; each shape whole and padded."""
    types = getattr(model.config, "type_vocab_size", 0) if "token_type_ids" in case.inputs else 0
    return random_batches(
        case.inputs,
        vocabulary=VOCABULARY,
        pad_id=PAD,
        max_length=LENGTH,
        type_vocabulary=types,
        shapes=shapes,
        padding_side=side,
    )


def make_probes(case: Case, model: PreTrainedModel) -> list[Any]:
    return [batch.feeds for batch in make_batches(case, model, PROBES) if batch.padded]


def open_graph(path: Path, given: Mapping[str, Floats] | None = None) -> onnxruntime.InferenceSession:
    """A session on one thread that keeps quiet about `sigma`; `given` replaces external weights."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if given:
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in given.values()]
        options.add_external_initializers(list(given), values)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_graph(session: onnxruntime.InferenceSession, feeds: Arrays, options: Any = None) -> dict[str, NDArray[Any]]:
    """Outputs by name."""
    names = [entry.name for entry in session.get_outputs()]
    results: list[NDArray[Any]] = session.run(names, dict(feeds), options)
    return dict(zip(names, results, strict=True))


@dataclass(frozen=True)
class Swappable:
    """`base` is the model's graph, `folder` holds what `build_swap` made of it, as `files` tells."""

    case: Case
    model: PreTrainedModel
    base: onnx.ModelProto
    plans: Mapping[str, LayerPlan]
    folder: Path
    files: SwapFiles

    @classmethod
    def make(
        cls, case: Case, model: PreTrainedModel, base: onnx.ModelProto, folder: Path, form: Any = every_form
    ) -> Swappable:
        plans = make_plans(model, form)
        files = build_swap(plans, [HeadGraph(base, whole_parameters(model), make_probes(case, model))], folder)
        return cls(case, model, base, plans, folder, files)

    @cached_property
    def backbone(self) -> onnxruntime.InferenceSession:
        return open_graph(self.folder / BACKBONE_FILE)

    @cached_property
    def head(self) -> onnxruntime.InferenceSession:
        return open_graph(self.folder / HEAD_FILE)

    def batches(self) -> list[Batch]:
        """Each of `SHAPES` whole, padded on the right and padded on the left."""
        left = [batch for batch in make_batches(self.case, self.model, SHAPES, "left") if batch.padded]
        return [*make_batches(self.case, self.model, SHAPES), *left]

    def sigma(self, seed: int) -> Floats:
        """An adapter (1, R) that moves answers well beyond rounding."""
        return np.random.default_rng(seed).normal(0, 0.3, size=(1, self.files.width)).astype(np.float32)

    def head_weights(self, seed: int, classes: int) -> dict[str, Floats]:
        """A head of its own for an adapter, with logits of size about 1 (its last layer sees vectors of 32)."""
        rng = np.random.default_rng(1000 + seed)
        shapes = {
            w.name: [classes if size == CLASSES else int(size) for size in w.shape] for w in self.files.head.weights
        }
        return {name: rng.normal(0, 32**-0.5, size=shape).astype(np.float32) for name, shape in shapes.items()}

    def own_head(self) -> dict[str, Floats]:
        """The base model's."""
        parameters = dict(self.model.named_parameters())
        return {w.name: parameters[w.name].detach().numpy() for w in self.files.head.weights}

    def expected(self, feeds: Arrays, sigma: Floats | None, head: Mapping[str, Floats]) -> Floats:
        """PyTorch's logits with one adapter (1, R) merged into the weights and a head of its own."""
        model = copy.deepcopy(self.model)
        parameters, modules = dict(model.named_parameters()), dict(model.named_modules())
        with torch.no_grad():
            for name, change in ({} if sigma is None else self.changes(sigma)).items():
                oriented_weight(modules[name]).add_(torch.from_numpy(change.T).float())
            for name, value in head.items():
                parameters[name].data = torch.from_numpy(value)
            answer: Floats = model(**{name: torch.from_numpy(value) for name, value in feeds.items()}).logits.numpy()
        return answer

    def changes(self, sigma: Floats) -> dict[str, NDArray[np.float64]]:
        """`A diag(sigma) B`, float64 (in, out), of each layer that carries directions."""
        found, start = {}, 0
        for layer in self.files.layers:
            plan, end = self.plans[layer.name], start + len(layer.kept)
            if layer.kept:
                found[layer.name] = np.asarray((plan.A * sigma[0, start:end].astype(np.float64)) @ plan.B)
            start = end
        return found

    def folded(self, sigma: Floats) -> onnxruntime.InferenceSession:
        """fold.onnx with one adapter (1, R), its weights made from weights.safetensors by `serve.promotion.fold`."""
        folded = fold_weights(swap_spec(self.files, ("one",)), load_file(self.folder / WEIGHTS_FILE), sigma[0])
        return open_graph(self.folder / FOLD_FILE, folded)

    def features(self, feeds: Arrays, sigma: Floats | None = None, session: Any = None) -> dict[str, NDArray[Any]]:
        """What a head takes: tensors of the backbone (or of another session) and inputs of the bundle."""
        given = feeds if sigma is None else {**feeds, "sigma": sigma}
        found = {**feeds, **run_graph(session or self.backbone, given)}
        return {name: found[name] for name in self.files.head.inputs}

    def answer(self, feeds: Arrays, sigma: Floats | None, head: Mapping[str, Floats], session: Any = None) -> Floats:
        """Logits (batch, classes) of the backbone (or of another session) and the head."""
        logits: Floats = run_graph(self.head, {**self.features(feeds, sigma, session), **head})[self.files.head.output]
        return logits

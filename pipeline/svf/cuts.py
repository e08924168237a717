"""What a model's outputs owe to which singular directions: weights cut to some of them, or pushed along some."""

from __future__ import annotations

import inspect
import re
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from export.basis import Factors
from pipeline.model.load import Loaded
from pipeline.svf.decompose import Progress
from pipeline.svf.weights import stored_weight
from serve.errors import InputError

WAYS = ("top", "bottom", "random")
PUSH = 0.01
MAX_LENGTH = 128
BATCH = 32
_LEAST = 1e-4  # a group whose removal changes less than this has no say in what is measured

Weights = Mapping[str, torch.Tensor]


class Outputs:
    """A model's vectors for a few texts, `(texts, d)` float64, with weights of one's own in place of some of its own.

    The vector is the pooled one where the checkpoint says how it pools, else the mean over a text's tokens of the
    last hidden state. The model itself is never changed: weights are handed to the call.
    """

    def __init__(self, loaded: Loaded, texts: Sequence[str]) -> None:
        self.model = loaded.model
        self.prefix = f"{loaded.model.base_model_prefix}."
        self.base: nn.Module = getattr(loaded.model, loaded.model.base_model_prefix)
        longest = min(MAX_LENGTH, loaded.tokenizer.model_max_length)
        ordered = sorted(texts, key=len)
        rows = [ordered[at : at + BATCH] for at in range(0, len(ordered), BATCH)]
        options = {"padding": True, "truncation": True, "max_length": longest, "return_tensors": "pt"}
        taken = inspect.signature(self.base.forward).parameters
        self.batches = [
            {key: value for key, value in loaded.tokenizer(part, **options).items() if key in taken} for part in rows
        ]

    @torch.no_grad()
    def __call__(self, weights: Weights | None = None) -> torch.Tensor:
        """`weights` by layer, `(out, in)`. Raises `InputError` where the model gives no hidden state."""
        given = {}
        for name, weight in (weights or {}).items():
            inner = name.removeprefix(self.prefix)
            given[f"{inner}.weight"] = stored_weight(self.base.get_submodule(inner), weight)
        training = self.base.training
        self.base.eval()
        try:
            found = [self._vectors(functional_call(self.base, given, (), batch), batch) for batch in self.batches]
        finally:
            self.base.train(training)
        return torch.cat(found).double()

    def _vectors(self, answer: Any, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        hidden = getattr(answer, "last_hidden_state", None)
        if hidden is None:
            raise InputError(f"{type(self.base).__name__} gives no last hidden state to compare")
        mask = batch["attention_mask"]
        pool = getattr(self.model, "pool", None)
        if pool is not None:
            pooled: torch.Tensor = pool(hidden, mask)
            return pooled
        shown = mask.unsqueeze(-1).to(hidden.dtype)
        mean: torch.Tensor = (hidden * shown).sum(1) / shown.sum(1).clamp(min=1)
        return mean


def kind_of(layer: str) -> str:
    """What a layer is in its block: its name behind the last number, `attention.self.query`."""
    return re.sub(r"^.*\.\d+\.", "", layer)


def ranks_for(counts: Sequence[int]) -> list[int]:
    """Ranks to try for weights with so many singular values each: few, and quarters of the most common count."""
    full = max(set(counts), key=counts.count)
    return sorted({r for r in (8, 32, full // 4, full // 2, 3 * full // 4) if 0 < r < full})


def measure_outputs(
    loaded: Loaded,
    weights: Weights,
    factors: Mapping[str, Factors],
    texts: Sequence[str],
    ranks: Mapping[str, Mapping[str, int]],
    compared: Sequence[str],
    progress: Progress | None = None,
) -> dict[str, Any]:
    """How the vectors of `texts` change when weights keep only some of their singular directions, or are pushed.

    `weights` by layer `(out, in)`, `factors` all triplets of each (of a weight whose factors are not complete, only
    the top is kept), `ranks` a rank for each layer by the rank's name, `compared` those of these names at which kinds
    of layers are cut in every way too, not only to their top.

    - `cuts`: for the whole model and each kind of layer, every rank, and each of `WAYS` to choose as many directions:
      `cosine`, the mean cosine between a text's vector before and after, and `kept`, how far that is on the way from
      the weights left out altogether (0, `left_out`) to the model as it is (1); None where they have no say.
    - `pushes`: `PUSH` of each weight's size (Frobenius) added along the chosen directions in equal parts of random
      sign: by how much the differences between texts change, relative. A shift that all texts share doesn't count.

    Random choices are seeded. Raises `InputError` where the model gives no hidden state, or vectors that aren't finite.
    """
    began = time.perf_counter()
    outputs = Outputs(loaded, texts)
    whole = outputs()
    if not bool(torch.isfinite(whole).all()):
        raise InputError("the model's outputs hold NaN or infinity; nothing can be compared with them")
    groups = {"all": list(factors)}
    for name in factors:
        groups.setdefault(kind_of(name), []).append(name)
    total = len(ranks) * len(WAYS) + 1
    step = _steps(total, progress)
    empty = {name: weight.new_zeros(()).expand_as(weight) for name, weight in weights.items()}
    left_out = {group: _cosine(outputs(_only(empty, names)), whole) for group, names in groups.items()}
    step("nothing kept")
    complete = all(f.rank == min(weights[name].shape) for name, f in factors.items())
    cuts: list[dict[str, Any]] = []
    pushes: list[dict[str, Any]] = []
    for label, rank in ranks.items():
        for way in WAYS if complete else WAYS[:1]:
            chosen = {name: _choose(f, min(rank[name], f.rank), way, f"{name} {label}") for name, f in factors.items()}
            kept = {name: (part.U * part.S) @ part.Vh for name, part in chosen.items()}
            for group, names in groups.items():
                if way != "top" and group != "all" and label not in compared:
                    continue
                cosine = _cosine(outputs(_only(kept, names)), whole)
                share = (cosine - left_out[group]) / (1 - left_out[group]) if 1 - left_out[group] > _LEAST else None
                cuts.append({"group": group, "rank": label, "way": way, "cosine": cosine, "kept": share})
            pushes.append({"rank": label, "way": way, "change": _apart(outputs(_pushed(weights, chosen)), whole)})
            step(f"rank {label}, {way}")
    return {
        "texts": len(texts),
        "groups": {group: len(names) for group, names in groups.items()},
        "ranks": list(ranks),
        "complete": complete,
        "between_texts": _between(whole),
        "left_out": left_out,
        "cuts": cuts,
        "push": PUSH,
        "pushes": pushes,
        "seconds": time.perf_counter() - began,
    }


def _steps(total: int, progress: Progress | None) -> Callable[[str], None]:
    done = 0

    def step(what: str) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total, what)

    return step


def _only(weights: Weights, names: Sequence[str]) -> dict[str, torch.Tensor]:
    return {name: weights[name] for name in names}


def _choose(factors: Factors, rank: int, way: str, seed: str) -> Factors:
    if way == "top":
        return factors.top(rank)
    if way == "bottom":
        return factors.take(range(factors.rank - rank, factors.rank))
    return factors.take(torch.randperm(factors.rank, generator=_dice(seed))[:rank].sort().values.tolist())


def _pushed(weights: Weights, chosen: Mapping[str, Factors]) -> dict[str, torch.Tensor]:
    result = {}
    for name, part in chosen.items():
        signs = torch.randint(0, 2, (part.rank,), generator=_dice(name)) * 2.0 - 1.0
        size = PUSH * float(weights[name].norm()) / part.rank**0.5
        result[name] = weights[name] + (part.U * (signs * size)) @ part.Vh
    return result


def _dice(seed: str) -> torch.Generator:
    """The same draws for the same words."""
    return torch.Generator().manual_seed(zlib.crc32(seed.encode()))


def _cosine(after: torch.Tensor, before: torch.Tensor) -> float:
    return float(torch.cosine_similarity(after, before, dim=1).mean())


def _apart(after: torch.Tensor, before: torch.Tensor) -> float:
    """How much the differences between texts change, relative to what they are."""
    was = before - before.mean(0)
    return float((after - after.mean(0) - was).norm() / was.norm().clamp(min=torch.finfo(torch.float64).tiny))


def _between(vectors: torch.Tensor) -> float:
    """Mean cosine between different texts."""
    unit = nn.functional.normalize(vectors, dim=1)
    rows, columns = torch.triu_indices(len(unit), len(unit), 1)
    return float((unit @ unit.T)[rows, columns].mean())

"""What a swappable bundle adds to its manifest: where `sigma` goes, where the heads begin, how a layer is folded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

from serve.errors import InputError
from serve.record import Record

CLASSES = "classes"
KINDS = ("row", "token", "embedding")
Kind = Literal["row", "token", "embedding"]
"""What a head gives: an output a row, one for each token, or a vector that needs no weights."""
FORMS = ("bypass", "factored", "untouched")
Form = Literal["bypass", "factored", "untouched"]


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """One adapted layer, a map `(in) → (out)`, and the directions of its basis that the graph carries.

    `kept` are places in the basis (0 is the largest singular value), ascending; sigma holds their `delta` in this
    order. With `A = down[:, offset : offset + k]` `(in, k)` and `B = up` `(k, out)`, tensors of the weights file:

    - `bypass`:    `y = x W + ((x A) ∘ sigma) B`, and `base` names `W`
    - `factored`:  `y = ((x A) ∘ (s + sigma)) B`, every direction kept, and `base` names `s (k,)`
    - `untouched`: no direction kept, `y = x W`; `base` names `W`, `down` and `up` are ""

    `folded` is the initializer of the fold's graph that takes `W + A diag(sigma) B`, `(in, out)` where `transposed`,
    else `(out, in)`; `W`, where it is stored, is called and oriented the same.
    """

    name: str
    rank: int
    kept: tuple[int, ...]
    form: Form
    down: str
    offset: int
    up: str
    base: str
    folded: str
    transposed: bool

    @classmethod
    def from_dict(cls, value: Any, where: str) -> LayerSpec:
        record = Record(value, where)
        kept = record.array("kept")
        spec = cls(
            name=record.text("name"),
            rank=record.count("rank", 1),
            kept=tuple(kept),
            form=cast(Form, record.choice("form", FORMS)),
            down=record.get("down", str),
            offset=record.count("offset"),
            up=record.get("up", str),
            base=record.text("base"),
            folded=record.text("folded"),
            transposed=record.get("transposed", bool),
        )
        record.end()
        if not all(type(place) is int and 0 <= place < spec.rank for place in kept) or sorted(set(kept)) != kept:
            raise InputError(f"{record.place('kept')}: must be ascending places below the rank {spec.rank}")
        if (spec.form == "untouched") != (not kept) or (spec.form == "factored" and len(kept) != spec.rank):
            raise InputError(
                f"{record.place('form')}: {spec.form} doesn't go with {len(kept)} of {spec.rank} directions"
            )
        return spec


@dataclass(frozen=True, slots=True)
class HeadWeight:
    """An input of a head's graph that an adapter fills: float32, `shape` with "classes" for the number of logits.

    An adapter holds it under the same name, as `module.<name>` in adapter.safetensors.
    """

    name: str
    shape: tuple[int | str, ...]

    @classmethod
    def from_dict(cls, value: Any, where: str) -> HeadWeight:
        record = Record(value, where)
        name, shape = record.text("name"), record.array("shape")
        record.end()
        if not shape or not all(size == CLASSES or (type(size) is int and size > 0) for size in shape):
            raise InputError(f'{record.place("shape")}: must hold sizes above 0 or "{CLASSES}" (got {shape})')
        return cls(name, tuple(shape))


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """A head's graph: `inputs` are outputs of the backbone (batch first) or inputs of the bundle, by name.

    `weights` are further inputs, shared by no two adapters; `output` is float32 (batch, classes), or what its `kind`
    gives: (batch, sequence, classes) of "token", (batch, dimensions) of "embedding". `pooling` is how one vector is
    made of a row's tokens ("" where it isn't told): an adapter that learned on another is refused.
    """

    name: str
    file: str
    inputs: tuple[str, ...]
    output: str
    weights: tuple[HeadWeight, ...]
    pooling: str = ""
    kind: Kind = "row"

    @classmethod
    def from_dict(cls, value: Any, where: str) -> HeadSpec:
        record = Record(value, where)
        spec = cls(
            name=record.text("name"),
            file=record.text("file"),
            inputs=record.strings("inputs"),
            output=record.text("output"),
            weights=tuple(
                HeadWeight.from_dict(item, f"{record.place('weights')}[{place}]")
                for place, item in enumerate(record.array("weights"))
            ),
            pooling=record.get("pooling", str),
            kind=cast(Kind, record.choice("kind", KINDS)) if record.has("kind") else "row",
        )
        record.end()
        return spec


@dataclass(frozen=True, slots=True)
class SwapSpec:
    """The manifest's `swap`: present in a swappable bundle only.

    `sigma` is the backbone's input, float32 (batch or 1, `width`), zeros when not fed. `outputs` are what the
    backbone (and the fold's graph) gives: the tensors that heads take. `adapters` are those sealed in the bundle, the
    first being the default; `price` is what was measured: latency against the merged graph, and the budget.
    """

    sigma: str
    width: int
    outputs: tuple[str, ...]
    layers: tuple[LayerSpec, ...]
    heads: tuple[HeadSpec, ...]
    weights: str
    fold: str
    adapters: tuple[str, ...]
    price: dict[str, Any]

    @classmethod
    def from_dict(cls, value: Any, where: str) -> SwapSpec:
        record = Record(value, where)
        spec = cls(
            sigma=record.text("sigma"),
            width=record.count("width", 1),
            outputs=record.strings("outputs"),
            layers=tuple(
                LayerSpec.from_dict(item, f"{record.place('layers')}[{place}]")
                for place, item in enumerate(record.array("layers"))
            ),
            heads=tuple(
                HeadSpec.from_dict(item, f"{record.place('heads')}[{place}]")
                for place, item in enumerate(record.array("heads"))
            ),
            weights=record.text("weights"),
            fold=record.text("fold"),
            adapters=record.strings("adapters"),
            price=record.get("price", dict),
        )
        record.end()
        carried = sum(len(layer.kept) for layer in spec.layers)
        if carried != spec.width:
            raise InputError(f"{record.place('width')}: {spec.width}, but the layers carry {carried} directions")
        if not spec.adapters or not spec.heads:
            raise InputError(f"{where}: needs at least one adapter and one head")
        return spec

    def head(self, name: str) -> HeadSpec:
        """A head by name. Raises InputError that lists what there is."""
        for head in self.heads:
            if head.name == name:
                return head
        raise InputError(f"no head {name!r}; this bundle has: {', '.join(head.name for head in self.heads)}")

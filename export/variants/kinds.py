"""Every variant by name: its precision, what it is made from, where it is written, and what a person should know."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from serve.errors import UsageError

if TYPE_CHECKING:
    import onnx

Writer = Callable[["onnx.ModelProto", Path, Collection[str]], int]
"""Writes a model to a file, the layers named left in float32; gives the file's bytes."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One variant.

    `of` is the variant that it is another form of: such a form has the same weights, answers as that one does, and
    isn't searched; "default" stands for the variant that a device takes. `writer` ("module:attribute") is empty for
    fp32, which the export wrote, and for int8-static, whose writer depends on rows.
    """

    name: str
    precision: str
    writer: str
    about: str
    of: str = ""
    suffix: str = ".onnx"

    @property
    def file(self) -> str:
        """The file's name, within the variant's own folder."""
        return f"model{self.suffix}"


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("fp32", "fp32", "", "the folded weights as they are"),
        Kind("int8", "int8", "export.int8:write_int8", "products and tables in int8, activations measured a batch"),
        Kind("int8-static", "int8", "", "products, convolutions and tables in int8, activations by training rows"),
        Kind("w8", "int8", "export.variants.weight_only:write_w8", "weights in int8 by blocks of 32"),
        Kind("w4", "int4", "export.variants.weight_only:write_w4", "weights in int4 by blocks of 32, tables in int8"),
        Kind("fp16", "fp16", "export.variants.fp16:write_fp16", "weights and sums in float16"),
        Kind("fp32-fused", "fp32", "export.variants.fused:write_fused", "fp32 with nodes fused", of="fp32"),
        Kind("int8-fused", "int8", "export.variants.fused:write_fused", "int8 with nodes fused", of="int8"),
        Kind("ort", "", "export.variants.ort:write_ort", "the default for minimal builds", of="default", suffix=".ort"),
    )
}
MADE = tuple(name for name in KINDS if name != "fp32")
"""Those that stage `quantize` makes."""


def kind(name: str) -> Kind:
    """The variant of this name. Raises UsageError that lists what there is."""
    if name not in KINDS:
        raise UsageError(f"no variant {name!r}; there are: {', '.join(KINDS)}")
    return KINDS[name]


def load(place: str) -> Callable[..., int]:
    """The function at "module:attribute"."""
    module, _, attribute = place.partition(":")
    found: Callable[..., int] = getattr(import_module(module), attribute)
    return found

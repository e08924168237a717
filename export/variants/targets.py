"""What a variant's target must have, in words: nothing fails without it, but what was hoped for isn't there."""

from __future__ import annotations

from collections.abc import Collection

from export.variants.kinds import Kind
from serve.machine import INT8_DOT

ARM_DOT = (
    "on ARM, int8 is quick with dot product instructions (asimddp: Cortex-A76 and later, Raspberry Pi 5, Graviton 2)"
    " and quicker with i8mm (Graviton 3); without (Cortex-A53 and A72: Raspberry Pi 3 and 4) products are widened to 16"
    " bits first, and int8 saves memory more than time"
)
"""`svfit doctor` on the device tells which of these it has."""
WEIGHT_ONLY = (
    "products by blocks have quick kernels for AVX2, AVX512 and ARM with dot product; elsewhere the weights become"
    " float32 in every product: smaller, and slower than fp32"
)
FP16_CASTS = (
    "on x86 onnxruntime has no products in float16: the weights become float32 when the graph is loaded, so the file is"
    " half as large and nothing else is gained; ARM from v8.2 with fp16 multiplies in float16"
)
MINIMAL = "for onnxruntime builds without ONNX; the full build answers from it alike and gains nothing"


def remarks(kind: Kind, isa: Collection[str]) -> list[str]:
    """What a person should know of a variant's targets; `isa` are the instruction sets of the machine that measured."""
    found = []
    if kind.precision == "fp16":
        found.append(FP16_CASTS)
    if kind.name in ("w8", "w4"):
        found.append(WEIGHT_ONLY)
    elif kind.precision == "int8":
        found.append(ARM_DOT)
        if INT8_DOT.isdisjoint(isa):
            found.append("measured without int8 dot products (VNNI on x86): a processor that has them is quicker")
    if kind.suffix == ".ort":
        found.append(MINIMAL)
    return found

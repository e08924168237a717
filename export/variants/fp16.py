"""float16: half the bytes, and all that a float16 unit gives where the target has one."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from export.quiet import quiet
from export.variants.saving import save, small_enough

if TYPE_CHECKING:
    import onnx


def write_fp16(model: onnx.ModelProto, out: Path, keep: Collection[str] = ()) -> int:
    """Write `model` in float16 to `out`, atomically; gives its bytes. Inputs and outputs keep their types.

    Nodes named in `keep`, and operators without a float16 form, stay in float32 between casts. Numbers beyond
    float16's range become its largest, which suits masks. Raises InputError for more than 2 GB of weights.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    small_enough(model, "fp16")
    copy = onnx.ModelProto()
    copy.CopyFrom(model)  # the converter changes what it is given
    with quiet():
        made = convert_float_to_float16(copy, keep_io_types=True, node_block_list=sorted(keep))
    return save(made, out)

"""Methods of fine-tuning by name: svfit's own, and the rivals they are measured against."""

from __future__ import annotations

import difflib
from functools import partial

from export.core import Core
from pipeline.methods import lora, plain, svf
from pipeline.methods.method import Method, Parameters
from serve.errors import UsageError

__all__ = ["KINDS", "Method", "Parameters", "method"]

KINDS = {
    "svfit": "singular values scaled; svfit:R takes the top R of each weight",
    "banded": "singular directions also turned among K neighbours (SVFT); banded:K, or banded:K:R",
    "dense": "an R × R matrix between the top R directions (LoRA-XS); dense:R",
    "lora": "LoRA of rank R from peft; lora:R",
    "pissa": "PiSSA of rank R from peft; pissa:R",
    "full": "every weight",
    "head": "the head alone",
}


def method(text: str) -> Method:
    """The method that a person names, with its sizes: `lora`, `lora:16`, `banded:2:64`.

    Raises `UsageError` for an unknown name or a size that the method doesn't take.
    """
    kind, *sizes = text.split(":")
    if kind not in KINDS:
        close = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UsageError(f"--methods: no method {kind!r}; available: {', '.join(KINDS)}{hint}")
    most = {"banded": 2, "full": 0, "head": 0}.get(kind, 1)
    if len(sizes) > most or not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise UsageError(f"--methods: {text!r} is not understood; {kind} is {KINDS[kind]}")
    numbers = [int(size) for size in sizes]
    if kind == "svfit":
        rank = numbers[0] if numbers else "full"
        title = f"SVFit r={rank}" if numbers else "SVFit"
        return Method(text, title, partial(svf.prepare, core=Core(), rank=rank), 0.03, trained=svf.trained)
    if kind == "banded":
        bands, rank = numbers[0] if numbers else 1, numbers[1] if len(numbers) > 1 else "full"
        core, title = Core("banded", bands), f"banded k={bands}" + (f" r={rank}" if len(numbers) > 1 else "")
        return Method(text, title, partial(svf.prepare, core=core, rank=rank), 0.01, trained=svf.trained)
    if kind == "dense":
        rank = numbers[0] if numbers else 48
        return Method(
            text, f"dense r={rank}", partial(svf.prepare, core=Core("dense"), rank=rank), 0.003, trained=svf.trained
        )
    if kind in ("lora", "pissa"):
        rank = numbers[0] if numbers else 8
        init = True if kind == "lora" else "pissa_niter_16"
        title = {"lora": "LoRA", "pissa": "PiSSA"}[kind]
        rate = {"lora": 1e-3, "pissa": 3e-4}[kind]
        return Method(text, f"{title} r={rank}", partial(lora.prepare, rank=rank, init=init), rate)
    if kind == "full":
        return Method(text, "full", plain.full, 1e-4)
    return Method(text, "head only", plain.head, 0.01, of_head=True)

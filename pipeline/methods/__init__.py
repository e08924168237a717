"""Methods of fine-tuning by name: svfit's own, and the rivals they are measured against."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Sequence
from functools import partial

from pipeline.methods.method import Method, Parameters, Targets
from serve.errors import MissingDependency, UsageError

__all__ = ["KINDS", "Method", "Parameters", "check_name", "method", "methods", "refuse_twins"]

KINDS = {
    "svfit": "singular values scaled; svfit:R takes the top R of each weight",
    "banded": "singular directions also turned among K neighbours (SVFT); banded:K, or banded:K:R",
    "dense": "an R × R matrix between the top R directions (LoRA-XS); dense:R",
    "lora": "LoRA of rank R from peft; lora:R",
    "pissa": "PiSSA of rank R from peft; pissa:R",
    "full": "every weight",
    "head": "the head alone",
}


def check_name(text: str) -> tuple[str, list[int]]:
    """The kind and the sizes of a method that a person names; imports nothing heavy.

    Raises `UsageError` for an unknown name or a size that the method doesn't take, `MissingDependency` for one of
    peft's where peft isn't installed.
    """
    kind, *sizes = text.split(":")
    if kind not in KINDS:
        close = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UsageError(f"--methods: no method {kind!r}; available: {', '.join(KINDS)}{hint}")
    most = {"banded": 2, "full": 0, "head": 0}.get(kind, 1)
    if len(sizes) > most or not all(_is_size(size) for size in sizes):
        raise UsageError(f"--methods: {text!r} is not understood; {kind} is {KINDS[kind]}")
    if kind in ("lora", "pissa") and importlib.util.find_spec("peft") is None:
        raise MissingDependency("peft", "train", f"--methods {text}")
    return kind, [int(size) for size in sizes]


def method(text: str, targets: Targets = "all-linear") -> Method:
    """The method that a person names, with its sizes: `lora`, `lora:16`, `banded:2:64`; it adapts `targets`.

    Raises as `check_name` does.
    """
    kind, numbers = check_name(text)
    from export.core import Core
    from pipeline.methods import plain, svf
    from pipeline.train.plan import RATES

    if kind in ("svfit", "banded", "dense"):
        bands = (numbers[0] if numbers else 1) if kind == "banded" else 0
        ranks = numbers[1:] if kind == "banded" else numbers
        rank: int | str = ranks[0] if ranks else (48 if kind == "dense" else "full")
        core = Core({"svfit": "diagonal"}.get(kind, kind), bands)
        title = {"svfit": "SVFit", "banded": f"banded k={bands}", "dense": "dense"}[kind]
        title = title if rank == "full" else f"{title} r={rank}"
        prepare = partial(svf.prepare, core=core, rank=rank, targets=targets)
        return Method(text, title, prepare, RATES[core.kind], trained=svf.trained, targets=targets)
    if kind in ("lora", "pissa"):
        from pipeline.methods import lora

        size = numbers[0] if numbers else 8
        init = True if kind == "lora" else "pissa_niter_16"
        title = {"lora": "LoRA", "pissa": "PiSSA"}[kind]
        rate = {"lora": 1e-3, "pissa": 3e-4}[kind]
        own = partial(lora.prepare, rank=size, init=init, targets=targets)
        return Method(text, f"{title} r={size}", own, rate, targets=targets)
    if kind == "full":
        return Method(text, "full", plain.full, 1e-4, targets=targets)
    return Method(text, "head only", plain.head, 0.01, of_head=True, targets=targets)


def methods(names: str) -> list[str]:
    """The methods of a list such as `svfit,lora:8,full`, in its order, each checked.

    Raises `UsageError` for an empty list or one that names a method twice, and as `check_name` does.
    """
    found = [name.strip() for name in names.split(",") if name.strip()]
    if not found:
        raise UsageError(f"--methods: names no method; available: {', '.join(KINDS)}")
    for name in found:
        check_name(name)
    refuse_twins([(name, name) for name in found])
    return found


def refuse_twins(named: Sequence[tuple[str, str]]) -> None:
    """Raise `UsageError` where two `(name, what it is)` are the same thing."""
    first: dict[str, str] = {}
    for name, what in named:
        if what in first:
            twin = first[what]
            text = f"{name!r} is named twice" if name == twin else f"{twin!r} and {name!r} are both {what}"
            raise UsageError(f"--methods: {text}; name each method once")
        first[what] = name


def _is_size(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 6 and int(text) > 0

"""Seconds a step and peak memory of training: SVFit, LoRA, the whole model, and its head alone.

    python benchmarks/training.py                     # every shape and batch, about an hour on two cores
    python benchmarks/training.py --quick             # MiniLM's shape, one round
    python benchmarks/training.py --shapes base --batches 32x16 --device cuda

The models have random weights, for speed doesn't depend on them; SVFit's get orthonormal factors from a QR, and a
weight made of them, in place of an SVD. Each step is a forward and a backward pass, AdamW and zeroed gradients, with
dropout, float32. Each side of each round runs in a process of its own, the sides taking turns; a side's time is the
median of its steps, a ratio the median of the rounds' own. Peak memory on a CPU is what the process holds at most
while training beyond what it held before it made the model (`VmHWM`, set back after the model is made, less the
resident memory after the imports): weights, factors, gradients, optimizer and activations. On a GPU it is
`max_memory_allocated`. The result is kept in benchmarks/results/training.json.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

RESULT = Path(__file__).parent / "results" / "training.json"
SHAPES = {"minilm": (384, 6, 12), "base": (768, 12, 12), "large": (1024, 24, 16)}
"""Width, layers and attention heads; the feed-forward part is four times as wide, as BERT's."""
BATCHES = ("32x16", "16x256")
SIDES = {
    "svfit": "SVFit, full rank",
    "svfit:64": "SVFit, r = 64",
    "svfit-banded:64": "SVFit banded, k = 1, r = 64",
    "lora:8": "LoRA, r = 8",
    "full": "full fine-tuning",
    "head": "head only",
}
LABELS = 77


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    if options.case:
        print(json.dumps(_case(json.loads(options.case))))
        return
    rows: list[dict[str, Any]] = []
    for shape in options.shapes:
        for batch in options.batches:
            rows.append(_compared(shape, batch, options))
            document = {"machine": _machine(options), "rounds": options.rounds, "cases": rows}
            if not options.quick:
                RESULT.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(_table(rows))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--shapes", type=lambda text: text.split(","), default=list(SHAPES))
    parser.add_argument("--batches", type=lambda text: text.split(","), default=list(BATCHES), help="rows x tokens")
    parser.add_argument("--sides", type=lambda text: text.split(","), default=list(SIDES))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="of a CPU; 0 leaves it to torch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12, help="timed steps of a side in a round, at most")
    parser.add_argument("--seconds", type=float, default=30, help="no more steps of a side after these (at least 2)")
    parser.add_argument("--quick", action="store_true", help="MiniLM's shape, short batches, one round; keeps nothing")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.quick:
        options.shapes, options.batches, options.rounds, options.steps = ["minilm"], list(BATCHES[:1]), 1, 8
    for given, known in ((options.shapes, SHAPES), (options.sides, SIDES)):
        unknown = [name for name in given if name not in known]
        if unknown:
            parser.error(f"{unknown[0]!r} is unknown; available: {', '.join(known)}")
    return options


# ---- one side, in a process of its own


def _case(case: Mapping[str, Any]) -> dict[str, Any]:
    """Train some steps; the seconds of each, peak memory in MB, and how many values are trained."""
    import torch

    import pipeline.methods.lora
    import pipeline.svf  # noqa: F401 (imports before memory is measured)

    if case["threads"]:
        torch.set_num_threads(case["threads"])
    torch.manual_seed(0)
    cuda = case["device"].startswith("cuda")
    before = 0.0 if cuda else _status("VmRSS")
    model, trained = _model(case["shape"], case["side"], case["device"])
    rows, tokens = (int(part) for part in case["batch"].split("x"))
    inputs = {
        "input_ids": torch.randint(5, 30_000, (rows, tokens), device=case["device"]),
        "attention_mask": torch.ones(rows, tokens, dtype=torch.long, device=case["device"]),
        "labels": torch.randint(0, LABELS, (rows,), device=case["device"]),
    }
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    model.train()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    else:
        _settle()
    seconds: list[float] = []
    worked: list[float] = []
    began = time.perf_counter()
    while len(seconds) < 1 + case["steps"] and (len(seconds) < 3 or time.perf_counter() - began < case["seconds"]):
        start, cpu = time.perf_counter(), time.process_time()
        model(**inputs).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        worked.append(time.process_time() - cpu)
    peak = torch.cuda.max_memory_allocated() / 2**20 if cuda else _status("VmHWM") - before
    device = torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads"
    trained_values = sum(value.numel() for value in trained)
    taken = {"seconds": seconds[1:], "cpu_seconds": worked[1:]}
    return taken | {"peak_mb": peak, "trained": trained_values, "device": device}


def _model(shape: str, side: str, device: str) -> tuple[Any, list[Any]]:
    """A model on its device and the parameters to train, all others frozen."""
    from transformers import BertConfig, BertForSequenceClassification

    from pipeline.methods import lora
    from pipeline.methods.method import head_of
    from pipeline.svf import head_modules

    width, layers, heads = SHAPES[shape]
    config: Any = BertConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
    )
    config.num_labels = LABELS
    model: Any = BertForSequenceClassification(config)
    model.to(device)
    whole = tuple(head_modules(model))
    kind, _, rank = side.partition(":")
    if kind == "full":
        return model, list(model.parameters())
    if kind == "head":
        model.requires_grad_(False)
        trained = [value for _, value in head_of(model, whole)]
    elif kind == "lora":
        groups = lora.prepare(_Given(model, whole), int(rank), True).trainable()  # type: ignore[arg-type]
        return model, [value for group in groups.values() for _, value in group]
    else:
        return model, _wrapped(model, kind, rank)
    for value in trained:
        value.requires_grad_(True)
    return model, trained


def _wrapped(model: Any, kind: str, rank: str) -> list[Any]:
    """SVFit on all linear layers; the parameters it trains."""
    import torch

    from export.basis import Factors, tensor_sha256
    from export.core import DIAGONAL, Core
    from export.store import FactorStore, Stored
    from pipeline.svf import head_modules, wrap
    from pipeline.svf.layer import oriented_weight
    from pipeline.svf.targets import find_targets

    held: dict[str, Stored] = {}

    class Held(FactorStore):
        def find(self, weight_sha256: str, rank: int, tolerance: float) -> Stored | None:
            return held[weight_sha256]

    with torch.no_grad():
        for module in find_targets(model, "all-linear", head_modules(model)).values():
            weight = oriented_weight(module)
            out, inp = weight.shape
            count = min(int(rank or min(out, inp)), out, inp)
            U, V = (torch.linalg.qr(torch.randn(size, count, device=weight.device))[0] for size in (out, inp))
            factors = Factors(U.cpu().contiguous(), torch.linspace(2, 0.1, count), V.T.cpu().contiguous())
            if not rank:
                weight.copy_((factors.U * factors.S) @ factors.Vh)
            held[tensor_sha256(weight)] = Stored(factors, 0.0 if rank else None)
    core = Core("banded", 1) if kind == "svfit-banded" else DIAGONAL
    svfit = wrap(model, rank=int(rank) if rank else "full", core=core, store=Held())
    svfit.add("a")
    svfit.activate("a")
    return [value for group in svfit.trainable().values() for _, value in group]


class _Given:
    """What `pipeline.methods` takes of a loaded model."""

    def __init__(self, model: Any, whole: tuple[str, ...]) -> None:
        self.model, self.whole = model, whole


def _settle() -> None:
    """Give back to the system what making the model left behind, and start `VmHWM` again from what is held now."""
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _status(key: str) -> float:
    """In MB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) / 1024


# ---- sides in turns


def _compared(shape: str, batch: str, options: argparse.Namespace) -> dict[str, Any]:
    """All sides of one shape and batch."""
    rounds: list[dict[str, Any]] = []
    for turn in range(options.rounds):
        found: dict[str, Any] = {}
        for side in options.sides:
            found[side] = _run(shape, batch, side, options)
            print(
                f"{shape} {batch} round {turn + 1}/{options.rounds} {SIDES[side]}: "
                f"{1000 * median(found[side]['seconds']):.0f} ms a step "
                f"({1000 * median(found[side]['cpu_seconds']):.0f} ms of the CPU), {found[side]['peak_mb']:.0f} MB",
                file=sys.stderr,
            )
        rounds.append(found)
    sides: dict[str, Any] = {}
    for side in options.sides:
        seconds = [median(each[side]["seconds"]) for each in rounds]
        peaks = [each[side]["peak_mb"] for each in rounds]
        sides[side] = {
            "trained": rounds[0][side]["trained"],
            "step_s": round(median(seconds), 4),
            "step_cpu_s": round(median(median(each[side]["cpu_seconds"]) for each in rounds), 4),
            "step_s_rounds": [round(value, 4) for value in seconds],
            "peak_mb": round(median(peaks), 1),
        }
        for against in ("lora:8", "full"):
            if against in options.sides:
                rival = [median(each[against]["seconds"]) for each in rounds]
                sides[side][f"time_to_{against}"] = round(median(a / b for a, b in zip(seconds, rival, strict=True)), 3)
                theirs = [each[against]["peak_mb"] for each in rounds]
                sides[side][f"peak_to_{against}"] = round(median(a / b for a, b in zip(peaks, theirs, strict=True)), 3)
    device = rounds[0][options.sides[0]]["device"]
    return {"shape": shape, "batch": batch, "device": device, "sides": sides}


def _run(shape: str, batch: str, side: str, options: argparse.Namespace) -> dict[str, Any]:
    case = {name: getattr(options, name) for name in ("device", "threads", "steps", "seconds")}
    case |= {"shape": shape, "batch": batch, "side": side}
    done = subprocess.run(
        [sys.executable, __file__, "--case", json.dumps(case)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{shape} {batch} {side}: {done.stderr.strip()[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _machine(options: argparse.Namespace) -> dict[str, Any]:
    packages = ("torch", "transformers", "peft")
    return {
        "platform": platform.platform(),
        "device": options.device,
        "threads": options.threads,
        **{package: version(package) for package in packages},
    }


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "| model | rows × tokens | side | trained | ms a step | to LoRA | to full | peak MB | to LoRA | to full |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        for side, found in row["sides"].items():
            ratios = [
                f"{found[key]:.2f}" if (key := f"{kind}_to_{against}") in found else ""
                for kind in ("time", "peak")
                for against in ("lora:8", "full")
            ]
            cells = [row["shape"], row["batch"].replace("x", " × "), SIDES[side], f"{found['trained']:,}"]
            cells += [f"{1000 * found['step_s']:.0f}", *ratios[:2], f"{found['peak_mb']:.0f}", *ratios[2:]]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

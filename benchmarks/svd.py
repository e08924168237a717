"""The SVD: time and error of iteration against the exact one, and whole models a weight at a time.

    python benchmarks/svd.py --quick                 # under a minute on one core: sizes 512 and 1024, an eighth of a 1B
    python benchmarks/svd.py                         # squares up to 8192, Llama-3.2-1B's shapes; 15 minutes on one core
    python benchmarks/svd.py --device cuda           # the same on a GPU, and Llama-2-7B's shapes
    python benchmarks/svd.py --table                 # prints the tables of what is there

It goes on where it was interrupted: what is measured is in benchmarks/results/svd.json. Exact SVDs above
`--exact-up-to` (4096; 8192 takes about 7 minutes on one core) are left out: the residual, which is measured either
way, is the error then, and where the weight was made with known singular values these are compared.

Singular values fall as a power of their place: 0.3 is what the first eighth of those of all-MiniLM-L6-v2 do (0.1 to
0.6), 1 is steep; `flat` is a Gaussian matrix, the hardest. Weights of models are made one at a time, fall with 0.3 and
are rounded to bf16.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from export.store import FactorStore
from pipeline.svf.decompose import Solver, decompose, decompose_weight
from pipeline.svf.randomized import EFFORT, TOLERANCE, randomized_svd, residual
from serve.files import write_json

RESULTS = Path(__file__).parent / "results" / "svd.json"
SIZES, RANKS, SPECTRA = (1024, 2048, 4096, 8192), (64, 128), ("0.3", "1", "flat")
MODEL_RANK = 64
Shapes = dict[str, tuple[int, int]]


def blocks(hidden: int, inner: int, kv: int, layers: int) -> Shapes:
    """The linear layers of a Llama, `(out, in)`."""
    block = {"q": (hidden, hidden), "k": (kv, hidden), "v": (kv, hidden), "o": (hidden, hidden)}
    block |= {"gate": (inner, hidden), "up": (inner, hidden), "down": (hidden, inner)}
    return {f"{layer}.{name}": shape for layer in range(layers) for name, shape in block.items()}


MODELS = {"Llama-3.2-1B": blocks(2048, 8192, 512, 16), "Llama-2-7B": blocks(4096, 11008, 4096, 32)}


def spectrum(kind: str, count: int) -> torch.Tensor | None:
    """The singular values a weight is made with, `(count,)` float64; None for those of a Gaussian matrix."""
    if kind == "flat":
        return None
    values: torch.Tensor = torch.arange(1, count + 1, dtype=torch.float64) ** -float(kind)
    return values


def made(shape: tuple[int, int], kind: str, seed: int, device: str) -> torch.Tensor:
    """A float32 weight `(out, in)` of known singular values, without the QR of a random matrix of its size."""
    random = torch.Generator().manual_seed(seed)
    values = spectrum(kind, min(shape))
    if values is None:
        return torch.randn(shape, generator=random).div(max(shape) ** 0.5).to(device)
    W = torch.zeros(shape, device=device)
    W.diagonal().copy_(values)
    for _ in range(2):
        W = mixed(mixed(W, random).T.contiguous(), random).T.contiguous()
    return W


def mixed(W: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """`O W` for an orthogonal `O`: signs, a circulant of random phases, and a permutation of the rows."""
    rows = W.shape[0]
    signs = torch.randint(0, 2, (rows, 1), generator=random).float() * 2 - 1
    angles = torch.rand(rows // 2 + 1, 1, generator=random) * 2 * torch.pi
    angles[0] = angles[-1] = 0
    phases = torch.polar(torch.ones_like(angles), angles).to(W.device)
    turned: torch.Tensor = torch.fft.irfft(torch.fft.rfft(W * signs.to(W.device), dim=0) * phases, n=rows, dim=0)
    return turned[torch.randperm(rows, generator=random).to(W.device)]


def square(size: int, kind: str, exact: bool, device: str) -> dict[str, Any]:
    """Seconds and errors for one square weight, relative to its largest singular value."""
    W = made((size, size), kind, 0, device)
    known = spectrum(kind, size)
    row: dict[str, Any] = {"size": size, "spectrum": kind, "ranks": []}
    if exact:
        began = time.perf_counter()
        whole = decompose_weight(W)
        known = whole.S.double()
        row["exact"] = {"seconds": seconds(began), "residual": residual(W, whole.top(max(RANKS)))}
    for rank in RANKS:
        began = time.perf_counter()
        found = randomized_svd(W, rank, 0)
        one: dict[str, Any] = {"rank": rank, "seconds": seconds(began)}
        if found is not None:
            one |= {"residual": found.residual, "products": found.products}
            if known is not None:
                one["values"] = float((found.factors.S.double() - known[:rank]).abs().max() / known[0])
        row["ranks"].append(one)
    return row


def layer(model: str, name: str, shape: tuple[int, int], device: str) -> dict[str, Any]:
    """Seconds to decompose and store one weight of a model, and the most memory it took, its own included."""
    seed = list(MODELS[model]).index(name)
    module = nn.Linear(shape[1], shape[0], bias=False, device="meta")
    weight = made(shape, "0.3", seed, device).to(torch.bfloat16).cpu()
    module.weight = nn.Parameter(weight, requires_grad=False)
    gc.collect()
    before = memory(device)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        found = decompose({name: module}, MODEL_RANK, FactorStore(Path(folder)), solver=Solver(device=device))
    own = weight.numel() * weight.element_size()
    return {
        "model": model,
        "layer": name,
        "shape": list(shape),
        "seconds": seconds(began),
        "residual": found.residual,
        "megabytes": round((memory(device, peak=True) - before + own) / 1e6, 1),
    }


def memory(device: str, *, peak: bool = False) -> int:
    """Bytes this process holds on the device; with `peak`, the most since the last call without."""
    if device != "cpu":
        if not peak:
            torch.cuda.reset_peak_memory_stats()
        return torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()
    if not peak:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    key = "VmHWM:" if peak else "VmRSS:"
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))


def seconds(began: float) -> float:
    return round(time.perf_counter() - began, 3)


def machine(device: str) -> str:
    name = torch.cuda.get_device_name() if device != "cpu" else f"CPU, {torch.get_num_threads()} threads"
    return f"{name}, torch {torch.__version__}"


def tables(results: dict[str, Any]) -> Iterator[str]:
    yield f"{results['machine']}; tolerance {TOLERANCE:g}, at most {EFFORT} times the products of its own size\n"
    yield f"| size | spectrum | exact | {' | '.join(f'r = {rank}' for rank in RANKS)} | residual | values off by |"
    yield f"|---|---|---|{'---|' * len(RANKS)}---|---|"
    for row in sorted(results["squares"], key=lambda row: (row["size"], row["spectrum"])):
        exact = f"{row['exact']['seconds']:.1f} s" if "exact" in row else ""
        took = [f"{one['seconds']:.1f} s" + ("" if "products" in one else ", given up") for one in row["ranks"]]
        residuals, off = ([one[key] for one in row["ranks"] if key in one] for key in ("residual", "values"))
        worst = " | ".join(f"{max(found):.1e}" if found else "" for found in (residuals, off))
        yield f"| {row['size']} | {row['spectrum']} | {exact} | {' | '.join(took)} | {worst} |"
    yield f"\n| model, r = {MODEL_RANK} | weights | values | seconds | peak MB | iterated | worst residual |"
    yield "|---|---|---|---|---|---|---|"
    for model, shapes in MODELS.items():
        rows = [row for row in results["layers"] if row["model"] == model]
        errors = [row["residual"] for row in rows if row["residual"] is not None]
        if rows:
            count = f"{len(rows)} of {len(shapes)}" if len(rows) < len(shapes) else str(len(rows))
            values = sum(row["shape"][0] * row["shape"][1] for row in rows) / 1e9
            yield (
                f"| {model} | {count} | {values:.2f} B | {sum(row['seconds'] for row in rows):.0f} | "
                f"{max(row['megabytes'] for row in rows):.0f} | {len(errors)} | {max(errors, default=0):.1e} |"
            )


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--quick", action="store_true")
    options.add_argument("--table", action="store_true")
    options.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    options.add_argument("--models", nargs="*", choices=list(MODELS))
    options.add_argument("--exact-up-to", type=int, default=4096)
    options.add_argument("--device", default="cpu")
    chosen = options.parse_args()
    everything = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    results = everything.setdefault(chosen.device, {"squares": [], "layers": []})
    if not chosen.table:
        results["machine"] = machine(chosen.device)
        done = {(row["size"], row["spectrum"]) for row in results["squares"]}
        for size in (512, 1024) if chosen.quick else chosen.sizes:
            for kind in SPECTRA:
                if (size, kind) not in done:
                    print(f"{size} x {size}, spectrum {kind}", file=sys.stderr)
                    results["squares"].append(square(size, kind, size <= chosen.exact_up_to, chosen.device))
                    write_json(RESULTS, everything)
        models = list(MODELS)[:1] if chosen.device == "cpu" else list(MODELS)
        finished = {(row["model"], row["layer"]) for row in results["layers"]}
        for model in models if chosen.models is None else chosen.models:
            shapes = MODELS[model]
            for name in list(shapes)[: len(shapes) // 8] if chosen.quick else shapes:
                if (model, name) not in finished:
                    print(f"{model} {name} {shapes[name]}", file=sys.stderr)
                    results["layers"].append(layer(model, name, shapes[name], chosen.device))
                    write_json(RESULTS, everything)
    print("\n".join(tables(results)))


if __name__ == "__main__":
    main()

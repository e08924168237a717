"""`svfit quantize --all` on a finished run, and what bundle and report make of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_task import Finished, svfit

from export.variants.kinds import KINDS, MADE
from pipeline.config import load
from pipeline.stages.quantize import Making, kept
from serve.bundle import Bundle
from serve.errors import UsageError
from serve.predictor import Predictor
from serve.verify import verify

MAX_DROP = 10.0
"""A row is 2.5 points of the forty that judge, and four bits move a model of this size."""


@pytest.fixture(scope="module")
def ranked(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A copy of the run with every variant, all that held in its bundle; and what the command showed."""
    run = Path(shutil.copytree(finished.folder, tmp_path_factory.mktemp("variants") / "run"))
    keys = ("--set", "quantize.keep=all", "--set", f"quantize.max_drop={MAX_DROP}")
    shown = svfit("quantize", finished.config, "--output", run, "--all", *keys)
    assert shown.exit_code == 0, shown.stderr
    for command in ("bundle", "report"):
        done = svfit(command, finished.config, "--output", run)
        assert done.exit_code == 0, done.stderr
    return run, shown.stdout


def records(run: Path) -> dict[str, dict[str, Any]]:
    document = json.loads((run / "quantize" / "quantize.json").read_text("utf-8"))
    return {row["name"]: row for row in document["variants"]}


def test_every_variant_is_made_gated_timed_and_weighed(ranked: tuple[Path, str]) -> None:
    found = records(ranked[0])
    assert set(found) == set(KINDS)
    for name, row in found.items():
        assert row["held"] and row["why"] == "", row["why"]
        assert row["drop"] <= MAX_DROP
        assert row["parity"]["max_abs"] >= 0
        assert row["latency"]["p50_ms"] > 0
        assert row["memory"]["peak_bytes"] >= row["memory"]["loaded_bytes"] > 0
        assert "validation" in row["metrics"], name
    assert found["fp32-fused"]["parity"]["max_abs"] <= found["fp32-fused"]["parity"]["limit"] < 1e-3


def test_what_is_measured_later_is_told_by_one_measured_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that take turns are quicker than eight: their caches stay warm."""
    with_eight = {"p50_ms": 2.0, "p99_ms": 3.0, "throughput": 500.0}
    with_two = {
        "int8": {"p50_ms": 1.0, "p99_ms": 2.0, "throughput": 1000.0},
        "ort": {"p50_ms": 1.1, "p99_ms": 2.2, "throughput": 900.0},
    }
    monkeypatch.setattr("pipeline.stages.quantize.measure", lambda *_, **__: with_two)
    monkeypatch.setattr("pipeline.stages.quantize.repeat_row", lambda *_: {})
    made: Any = SimpleNamespace(
        records={"int8": {"bytes": 1, "latency": dict(with_eight)}, "ort": {"bytes": 1}},
        evaluation=SimpleNamespace(median_row=dict),
        context=SimpleNamespace(config=SimpleNamespace(quantize=SimpleNamespace(batch=16))),
        file=Path,
    )
    Making.time(made, ["int8", "ort"])
    assert made.records["int8"]["latency"] == with_eight
    assert made.records["ort"]["latency"] == {"p50_ms": 2.2, "p99_ms": 3.3, "throughput": 450.0}


def test_the_table_shows_them_by_rank_with_the_default_and_what_targets_need(ranked: tuple[Path, str]) -> None:
    run, shown = ranked
    document = json.loads((run / "quantize" / "quantize.json").read_text("utf-8"))
    lines = [line for line in shown.splitlines() if line.split() and line.split()[0] in KINDS]
    assert len(lines) == len(KINDS)
    assert f"{document['default']} (default)" in shown
    assert "fp16: on x86" in shown
    assert "p99 ms" in shown and "peak" in shown


def test_the_bundle_holds_what_held_and_answers_from_each(ranked: tuple[Path, str]) -> None:
    bundle = Bundle.open(ranked[0] / "bundle")
    assert {variant.name for variant in bundle.manifest.variants} == set(KINDS)
    assert bundle.manifest.variant("ort").file == "variants/ort/model.ort"
    assert "variants/ort/required_operators.config" in bundle.manifest.files
    precisions = {variant.name: variant.precision for variant in bundle.manifest.variants}
    assert precisions["fp32-fused"] == "fp32" and precisions["w4"] == "int4" and precisions["fp16"] == "fp16"
    assert verify(bundle.path).passed
    for name in KINDS:
        (answer,) = Predictor(bundle, variant=name).predict(["hot line leak door cold"])
        assert answer.label == "plumbing", name


def test_the_page_has_the_picture_and_the_rule(ranked: tuple[Path, str]) -> None:
    page = (ranked[0] / "report.html").read_text("utf-8")
    assert "What each variant costs and reaches" in page
    assert "least time × size" in page
    assert "int8-static" in page
    report = json.loads((ranked[0] / "report.json").read_text("utf-8"))
    assert report["candidates"]["default"] == report["variants"][0]["name"] or report["candidates"]["front"]


def test_the_default_run_makes_int8_alone_and_measures_nothing_twice(finished: Finished) -> None:
    found = records(finished.folder)
    assert list(found) == ["fp32", "int8"]
    assert "latency" not in found["int8"] and "memory" not in found["int8"]
    assert {path.name for path in (finished.folder / "quantize").iterdir()} == {"int8", "quantize.json"}


def test_a_form_of_another_variant_brings_that_along(finished: Finished, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    done = svfit("quantize", finished.config, "--output", run, "--set", 'quantize.variants=["int8-fused"]', "--json")
    assert done.exit_code == 0, done.stderr
    assert list(records(run)) == ["fp32", "int8", "int8-fused"]
    assert records(run)["int8-fused"]["parity"]["against"] == "int8"


def test_what_an_earlier_version_left_is_refused_with_what_to_run(finished: Finished, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    (run / "quantize" / "quantize.json").write_text('{"enabled": true, "held": true}')
    done = svfit("bundle", finished.config, "--output", run)
    assert done.exit_code == 1
    assert "make it again with: svfit quantize" in done.stderr.replace("\n", " ")


def test_what_goes_in_the_bundle_is_fp32_the_default_and_what_was_asked_for_and_held() -> None:
    rows = [{"name": name, "held": name != "w4"} for name in ("fp32", "int8", "w4", "w8")]
    assert kept("best", rows, "int8") == ["fp32", "int8"]
    assert kept("all", rows, "int8") == ["fp32", "int8", "w8"]
    assert kept(["w4", "w8"], rows, "int8") == ["fp32", "int8", "w8"]
    assert kept("best", rows, "fp32") == ["fp32"]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ('quantize.variants=["int2"]', "no variant 'int2'; there are: int8, int8-static"),
        ("quantize.variants=[]", 'must be "all" or a list of variants'),
        ('quantize.keep="some"', 'must be "best", "all" or a list of variants'),
    ],
)
def test_an_unknown_variant_is_told_before_anything_is_done(finished: Finished, override: str, told: str) -> None:
    with pytest.raises(UsageError) as error:
        load(finished.config, [override])
    assert told in str(error.value)


def test_all_stands_for_every_variant(finished: Finished) -> None:
    assert load(finished.config, ["quantize.variants=all"]).quantize.variants == list(MADE)

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tiny_bundle import reseal
from tune_stage import FakeMachine

import serve.tune.tune
from pipeline.cli import main
from serve.profile import beside
from serve.tune.candidate import Candidate

Command = Callable[..., Result]


def speed(candidate: Candidate) -> tuple[float, float, float]:
    return (5.0 if candidate.variant == "fp32" else 4.0), (200.0 if candidate.variant == "fp32" else 140.0), 1.0


@pytest.fixture
def command(bundle_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    variants = json.loads((bundle_path / "manifest.json").read_text())["variants"]
    reseal(bundle_path, variants=[{**variant, "metrics": {"test": {"accuracy": 0.9}}} for variant in variants])

    def run(*options: object, **machine: Any) -> Result:
        monkeypatch.setattr(serve.tune.tune, "Trials", lambda _: FakeMachine(speed, **machine))
        return CliRunner().invoke(main, ["tune", str(bundle_path), *map(str, options)])

    return run


def test_it_shows_one_table_and_writes_the_profile_that_predict_uses(command: Command, bundle_path: Path) -> None:
    result = command("--max-ms", 15, "--max-mb", 150)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["int8", "int8"]
    assert lines[2].rstrip().endswith("chosen")
    assert sum("chosen" in line for line in lines) == 1
    assert any(line.startswith("fp32") and line.endswith("misses a wish") for line in lines)
    assert "of what keeps every wish the fastest" in result.stdout
    answered = CliRunner().invoke(main, ["predict", str(bundle_path), "the pump", "--json"])
    assert json.loads(answered.stdout)["variant"] == "int8"


def test_its_document_has_every_candidate_and_the_choice(command: Command, bundle_path: Path) -> None:
    result = command("--json", "--max-mb", 150, "--sweep")
    document = json.loads(result.stdout)
    assert {one["variant"]: one["keeps"] for one in document["candidates"]} == {"fp32": False, "int8": True}
    assert document["chosen"]["variant"] == "int8"
    assert document["chosen"]["p50_ms"] == 4.0
    assert document["profile"] == str(beside(bundle_path))
    written = json.loads(beside(bundle_path).read_text())
    assert written["measured"].items() <= document["chosen"].items()
    assert written["settings"].items() <= document["chosen"].items()


def test_an_impossible_wish_ends_with_code_5_and_leaves_the_profile_as_it_is(
    command: Command, bundle_path: Path
) -> None:
    beside(bundle_path).write_text("before")
    result = command("--max-mb", 100)
    assert result.exit_code == 5
    assert result.stderr.count("\n") == 1
    assert "the nearest is int8" in result.stderr
    assert "peak 140.0 MB (wished: 100)" in result.stderr
    assert "nearest" in result.stdout
    assert beside(bundle_path).read_text() == "before"
    assert json.loads(command("--json", "--max-mb", 100).stdout)["chosen"] is None


def test_a_variant_that_can_not_be_used_stands_in_the_table_with_the_reason(command: Command) -> None:
    result = command(broken={"int8": "answers otherwise here: differs by 1"})
    assert result.exit_code == 0
    assert any(line.startswith("int8") and "answers otherwise here" in line for line in result.stdout.splitlines())
    assert command(broken={"int8": "no", "fp32": "no"}).exit_code == 4


def test_the_profile_goes_where_it_is_told(command: Command, bundle_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "device.json"
    assert command("--out", out).exit_code == 0
    assert out.is_file()
    assert not beside(bundle_path).exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--max-ms", 0), "max-ms must be above 0"),
        (("--min-accuracy", 93), "min-accuracy must be of 0 to 1"),
        (("--seconds", 0), "seconds must be of 1 to 3600"),
    ],
)
def test_senseless_wishes_are_usage_errors(command: Command, options: tuple[object, ...], told: str) -> None:
    result = command(*options)
    assert result.exit_code == 2
    assert told in result.stderr

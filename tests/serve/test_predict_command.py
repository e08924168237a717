"""`svfit predict` and `svfit verify`, as a person or a script calls them."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tiny_bundle import Shape, make_bundle, reseal
from tiny_swap import make_adapter, make_swap_bundle

from pipeline.cli import main
from serve.runtime import Runtime

WITHOUT = ("torch", "transformers", "pydantic", "onnx", "safetensors", "peft", "optimum", "datasets")


def svfit(*args: str | Path, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args], input=stdin)


def lines(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_texts_are_answered_as_json_lines_off_a_terminal(bundle_path: Path) -> None:
    first, second = lines(svfit("predict", bundle_path, "the pump", "fan"))
    assert (first["row"], first["text"]) == (1, "the pump")
    assert second["text"] == "fan"
    assert next(iter(first["probabilities"])) == first["label"]
    assert first["probabilities"][first["label"]] == first["score"]
    assert len(first["probabilities"]) == 3


def test_json_is_one_document_and_top_cuts_the_labels(bundle_path: Path) -> None:
    result = svfit("predict", bundle_path, "fan", "pump", "--json", "--top", "2", "--variant", "int8")
    document = json.loads(result.stdout)
    assert (document["bundle"], document["variant"]) == ("tiny", "int8")
    assert [len(answer["probabilities"]) for answer in document["predictions"]] == [2, 2]


def test_a_table_names_text_label_and_score(bundle_path: Path) -> None:
    result = svfit("predict", bundle_path, "the pump\x1b[31m is", "[bold]fan", "--format", "table")
    assert result.exit_code == 0
    assert "the pump [31m is" in result.stdout  # no control character of a text reaches the terminal
    assert "[bold]fan" in result.stdout
    assert "%" in result.stdout


def test_csv_goes_out_with_a_header(bundle_path: Path) -> None:
    result = svfit("predict", bundle_path, 'a "quoted", text', "--format", "csv")
    header, row = list(csv.reader(io.StringIO(result.stdout)))
    assert header == ["row", "text", "label", "score"]
    assert row[:2] == ["1", 'a "quoted", text']
    assert 0 < float(row[3]) <= 1


def test_a_file_is_answered_in_its_order_past_one_chunk(bundle_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    texts = ["pump " * (number % 7) for number in range(75)]
    path.write_text("id,message\n" + "".join(f"{number},{text}\n" for number, text in enumerate(texts)))
    got = lines(svfit("predict", bundle_path, "--file", path, "--text", "message", "--batch-size", "2"))
    assert [answer["row"] for answer in got] == list(range(1, 76))
    assert [answer["text"] for answer in got] == texts


@pytest.mark.parametrize("flags", [(), ("--file", "-")])
def test_standard_input_is_answered_line_by_line(bundle_path: Path, flags: tuple[str, ...]) -> None:
    got = lines(svfit("predict", bundle_path, *flags, stdin="the pump\n\nfan é\n"))
    assert [answer["text"] for answer in got] == ["the pump", "", "fan é"]


def test_pairs_and_regression(tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "bundle", Shape(texts=2, regression=True))
    (answer,) = lines(svfit("predict", path, "the pump", "is leaking"))
    assert answer["text"] == ["the pump", "is leaking"]
    assert set(answer) == {"row", "text", "value"}
    table = svfit("predict", path, "the pump", "is leaking", "--format", "table")
    assert "the pump │ is leaking" in table.stdout
    odd = svfit("predict", path, "the pump")
    assert odd.exit_code == 2
    assert "two texts for each answer" in odd.stderr


def test_an_adapter_is_chosen_by_name_and_version(tmp_path: Path) -> None:
    path = make_swap_bundle(tmp_path / "bundle")
    with Runtime(path) as runtime:
        for seed in (3, 4):
            runtime.add(make_adapter(tmp_path / f"{seed}", seed, ("dry", "wet")), "site")
        wanted = {ref: runtime.predict("the pump", ref)[0].probabilities for ref in ("alpha", "beta", "site@1", "site")}
    for ref, probabilities in wanted.items():
        (answer,) = lines(svfit("predict", path, "the pump", "--adapter", ref))
        assert answer["probabilities"] == pytest.approx(probabilities)
    (answer,) = lines(svfit("predict", path, "the pump"))
    assert answer["probabilities"] == pytest.approx(wanted["alpha"])
    document = json.loads(svfit("predict", path, "fan", "--adapter", "site", "--json").stdout)
    assert (document["adapter"], document["predictions"][0].keys()) == (
        "site@2",
        {"row", "text", "label", "score", "probabilities"},
    )


def test_an_adapter_that_is_not_there_is_told_with_those_that_are(tmp_path: Path, bundle_path: Path) -> None:
    result = svfit("predict", make_swap_bundle(tmp_path / "swap"), "fan", "--adapter", "gamma")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no adapter 'gamma'; there are: alpha, beta" in result.stderr
    merged = svfit("predict", bundle_path, "fan", "--adapter", "gamma")
    assert merged.exit_code == 1
    assert "no adapter 'gamma'; this bundle is merged and has one: default@1" in merged.stderr


def test_pairs_are_read_for_an_adapter_that_takes_pairs(tmp_path: Path) -> None:
    path = make_swap_bundle(tmp_path / "bundle")
    with Runtime(path) as runtime:
        runtime.add(make_adapter(tmp_path / "pairs", 3, texts=2), "pairs")
    (answer,) = lines(svfit("predict", path, "--adapter", "pairs", stdin="the pump\tis leaking\n"))
    assert answer["text"] == ["the pump", "is leaking"]


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (("x", "--file", "a.csv"), 2, "can't be given both"),
        (("x", "--json", "--format", "csv"), 2, "--json is a format of its own"),
        (("x", "--text", "c"), 2, "needs --file"),
        (("--batch-size", "0", "x"), 2, "--batch-size"),
        (("x", "--variant", "int4"), 1, "no variant 'int4'; it has: fp32, int8"),
        (("--file", "none.csv"), 1, "none.csv: can't be read"),
        (("--file", "-"), 1, "standard input, line 2: not UTF-8"),
        (("--file", "-", "--json"), 1, "standard input, line 2: not UTF-8"),
    ],
)
def test_failures_have_a_line_and_a_code(bundle_path: Path, args: tuple[str, ...], code: int, told: str) -> None:
    result = svfit("predict", bundle_path, *args, stdin=b"fan\n\xff\n")
    assert result.exit_code == code
    assert told in result.stderr
    assert result.stdout == ""


def test_a_folder_that_is_no_bundle_is_named(tmp_path: Path) -> None:
    for command in ("predict", "verify"):
        result = svfit(command, tmp_path, *(["x"] if command == "predict" else []))
        assert result.exit_code == 1
        assert "manifest.json: missing" in result.stderr


def test_verify_says_what_it_checked(bundle_path: Path) -> None:
    result = svfit("verify", bundle_path)
    assert result.exit_code == 0, result.stderr
    for told in ("files and hashes", "fp32: 4 stored samples", "int8", "passed"):
        assert told in result.stdout
    document = json.loads(svfit("verify", bundle_path, "--json").stdout)
    assert document["passed"] is True
    assert [check["variant"] for check in document["checks"]] == ["fp32", "int8"]


def test_verify_ends_with_1_for_a_changed_file_and_4_for_other_answers(bundle_path: Path) -> None:
    samples = bundle_path / "samples.json"
    value = json.loads(samples.read_text())
    value["outputs"]["fp32"][0][0] += 1
    samples.write_text(json.dumps(value))
    changed = svfit("verify", bundle_path)
    assert (changed.exit_code, changed.stdout) == (1, "")
    assert "samples.json was changed" in changed.stderr
    reseal(bundle_path)
    moved = svfit("verify", bundle_path, "--json")
    assert moved.exit_code == 4
    assert json.loads(moved.stdout)["passed"] is False
    assert "fp32 differs by 1" in moved.stderr


def test_neither_command_imports_what_a_device_lacks(bundle_path: Path) -> None:
    script = (
        "import sys\n"
        "from pipeline.cli import main\n"
        f"for args in (['predict', {str(bundle_path)!r}, 'fan'], ['verify', {str(bundle_path)!r}]):\n"
        "    main(args, standalone_mode=False)\n"
        f"print([name for name in {WITHOUT!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"

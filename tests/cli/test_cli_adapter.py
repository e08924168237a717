"""`svfit adapter`: adapters of a bundle come, go and change their default version, seen at once by who serves it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tiny_bundle import SAMPLES, make_bundle
from tiny_swap import BASIS_ID, expected_logits, make_adapter, make_swap_bundle, tiny_delta, tiny_head

from pipeline.cli import main
from serve.bundle import Bundle
from serve.runtime import Runtime

HEAVY = ("torch", "transformers", "onnx", "onnxruntime", "tokenizers", "pydantic", "peft", "safetensors")


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_swap_bundle(tmp_path_factory.mktemp("sealed") / "bundle")


@pytest.fixture
def bundle(sealed: Path, tmp_path: Path) -> Path:
    """A swappable bundle of its own for each test: alpha and beta, nothing added."""
    return Path(shutil.copytree(sealed, tmp_path / "site.bundle"))


@pytest.fixture
def returns(tmp_path: Path) -> Path:
    """An adapter of which the bundle's graph carries all."""
    return make_adapter(tmp_path / "returns", 5, trained={"adapter": 13824, "head": 29645})


def svfit(*args: str | Path | int) -> Result:
    return CliRunner().invoke(main, ["adapter", *map(str, args)])


def done(*args: str | Path | int) -> dict[str, Any]:
    """What a command says as JSON; it must succeed and say nothing else."""
    result = svfit(*args, "--json")
    assert (result.exit_code, result.stderr) == (0, ""), result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def failed(*args: str | Path | int, code: int = 1) -> str:
    result = svfit(*args)
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def answers(runtime: Runtime, adapter: str) -> list[Any]:
    return [(answer.label, answer.adapter) for answer in runtime.predict(SAMPLES, adapter)]


def test_add_tells_the_version_what_it_means_and_what_was_trained(bundle: Path, returns: Path) -> None:
    first, second = svfit("add", bundle, returns, "--name", "returns"), svfit("add", bundle, returns, "--name", "beta")
    assert (first.exit_code, first.stderr, second.exit_code, second.stderr) == (0, "", 0, "")
    assert first.stdout.splitlines() == [
        "added     returns@1, what returns means from now on",
        "task      text-classification, 3 labels",
        "trained   13,824 singular values + 29,645 values in modules trained whole",
        "dropped   0.0 % of what it learned",
    ]
    assert second.stdout.startswith("added     beta@2, what beta means from now on\n")


def test_json_of_add_is_what_the_server_says_of_an_adapter(bundle: Path, returns: Path) -> None:
    document = done("add", bundle, returns, "--name", "returns")
    with Runtime(bundle) as runtime:
        (info,) = [info for info in runtime.list() if info.name == "returns"]
    for key in ("name", "version", "task", "metrics", "dropped", "sealed", "at"):
        assert document[key] == getattr(info, key)
    assert (document["default"], document["versions"]) == (1, list(info.versions))
    assert document["labels"] == list(info.labels)
    assert document["trained"] == {"adapter": 13824, "head": 29645}


def test_a_runs_folder_stands_for_its_adapter(bundle: Path, tmp_path: Path) -> None:
    make_adapter(tmp_path / "run" / "adapter", 5)
    (tmp_path / "run" / "config.json").write_text("{}")
    assert done("add", bundle, tmp_path / "run", "--name", "returns")["version"] == 1


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_what_the_graph_does_not_carry_is_remarked_on_in_one_line(
    bundle: Path, tmp_path: Path, options: list[str]
) -> None:
    delta = tiny_delta(5)
    delta["first"][1] = 9.0
    folder = make_adapter(tmp_path / "wide", 5, delta=delta)
    result = svfit("add", bundle, folder, "--name", "wide", *options)
    dropped = done("show", bundle, "wide")["dropped"]
    assert 0.3 < dropped < 0.5  # all but nothing of one layer of two is carried
    assert result.stderr == (
        f"{100 * dropped:.1f} % of what it learned lies on directions that this bundle's graph doesn't carry;"
        f" train it for this bundle with --set adapter.onto={bundle}\n"
    )
    assert svfit("add", bundle, folder, "--name", "wide", "--quiet").stderr == ""


def test_little_that_is_not_carried_is_not_remarked_on(bundle: Path, tmp_path: Path) -> None:
    delta = tiny_delta(5)
    delta["first"][1] = 0.1
    added = done("add", bundle, make_adapter(tmp_path / "a", 5, delta=delta), "--name", "a")
    assert 0 < added["dropped"] < 0.01


def test_an_open_runtime_sees_every_change_at_once(bundle: Path, tmp_path: Path) -> None:
    one, two = make_adapter(tmp_path / "one", 5), make_adapter(tmp_path / "two", 6)
    with Runtime(bundle) as runtime:
        svfit("add", bundle, one, "--name", "returns")
        first = answers(runtime, "returns")
        assert {tag for _, tag in first} == {"returns@1"}
        svfit("add", bundle, two, "--name", "returns")
        assert {tag for _, tag in answers(runtime, "returns")} == {"returns@2"}
        svfit("default", bundle, "returns", 1)
        assert answers(runtime, "returns") == first
        svfit("rollback", bundle, "returns")
        assert {tag for _, tag in answers(runtime, "returns")} == {"returns@2"}
        svfit("rename", bundle, "returns", "refunds")
        assert [info.name for info in runtime.list()] == ["alpha", "beta", "refunds"]
        assert answers(runtime, "refunds@1") == [(label, "refunds@1") for label, _ in first]
        svfit("remove", bundle, "refunds")
        assert [info.name for info in runtime.list()] == ["alpha", "beta"]


def test_what_was_added_answers_as_it_should(bundle: Path, returns: Path) -> None:
    done("add", bundle, returns, "--name", "returns")
    with Runtime(bundle) as runtime:
        pinned = runtime.pin("returns")
        (tokens,) = runtime.prepare("fan noisy", pinned).pieces
        (logits,) = runtime.run([tokens], [pinned])
    assert abs(logits - expected_logits(tokens[0].tolist(), tiny_delta(5), tiny_head(5, 3))).max() < 1e-4


def test_list_shows_each_as_its_default_version_is(bundle: Path, tmp_path: Path) -> None:
    for seed in (5, 6):
        metrics = {"validation": {"macro_f1": 0.5, "accuracy": 0.91234}}
        svfit("add", bundle, make_adapter(tmp_path / f"{seed}", seed, metrics=metrics), "--name", "returns")
    listed = done("list", bundle)
    assert [(row["name"], row["version"], row["versions"]) for row in listed["adapters"]] == [
        ("alpha", 1, [1]),
        ("beta", 1, [1]),
        ("returns", 2, [1, 2]),
    ]
    assert [row["sealed"] for row in listed["adapters"]] == [True, True, False]
    assert listed["unnamed"] == "alpha@1"
    shown = svfit("list", bundle).stdout
    (row,) = [line.split() for line in shown.splitlines() if line.startswith("returns")]
    assert row[:3] == ["returns@2", "1,", "2"]
    assert {"accuracy", "0.9123", "0.0%"} <= set(row)
    assert shown.splitlines()[-1] == "where none is named: alpha@1"


def test_list_says_where_no_adapter_answers_unnamed(bundle: Path) -> None:
    done("remove", bundle, "alpha")
    assert done("list", bundle)["unnamed"] is None
    assert svfit("list", bundle).stdout.endswith("where none is named: none answers\n")


def test_show_tells_a_versions_card_and_its_folder(bundle: Path, returns: Path) -> None:
    for _ in range(2):
        done("add", bundle, returns, "--name", "returns")
    document = done("show", bundle, "returns@1")
    assert (document["version"], document["default"], document["versions"]) == (1, 2, [1, 2])
    assert document["card"]["name"] == "returns"
    assert (Path(document["folder"]) / "adapter.safetensors").is_file()
    assert Path(done("show", bundle, "beta")["folder"]) == bundle / "adapters" / "beta"
    shown = svfit("show", bundle, "returns@1").stdout.splitlines()
    assert shown[0].split() == ["adapter", "returns@1"]
    assert ["card.labels", "hvac,", "plumbing,", "other"] in [line.split() for line in shown]


def test_a_strangers_card_does_not_steer_the_terminal(bundle: Path, tmp_path: Path) -> None:
    hostile = {"name": "a\x1b[31mb\r", "metrics": {"accuracy": "\x1b[2J"}, "trained": {"adapter": "\x07", "head": [1]}}
    folder = make_adapter(tmp_path / "hostile", 5, labels=("[bold]x", "\x1b]0;y\x07"), **hostile)
    for command in (["add", bundle, folder, "--name", "x"], ["show", bundle, "x"], ["list", bundle]):
        result = svfit(*command)
        assert result.exit_code == 0, result.stderr
        assert all(letter.isprintable() for letter in result.stdout.replace("\n", ""))


def test_remove_takes_a_version_or_a_whole_name(bundle: Path, returns: Path) -> None:
    for _ in range(3):
        done("add", bundle, returns, "--name", "returns")
    assert done("remove", bundle, "returns@1") == {"removed": ["returns@1"]}
    assert "make another the default first" in failed("remove", bundle, "returns@3")
    assert svfit("remove", bundle, "returns").stdout == "removed   returns@2, returns@3\n"
    assert "no adapter 'returns'; there are: alpha, beta" in failed("show", bundle, "returns")
    assert done("add", bundle, returns, "--name", "returns")["version"] == 4


def test_default_and_rollback_say_what_the_name_means_now(bundle: Path, returns: Path) -> None:
    for _ in range(2):
        done("add", bundle, returns, "--name", "returns")
    assert svfit("default", bundle, "returns", 1).stdout == "default   returns@1\nversions  1, 2\n"
    assert done("rollback", bundle, "returns")["default"] == 2
    assert "no default before it" in failed("rollback", bundle, "beta")
    assert "no version 7" in failed("default", bundle, "returns", 7)
    assert svfit("default", bundle, "returns", "newest").exit_code == 2


def test_rename_needs_a_name_that_is_free(bundle: Path) -> None:
    assert "there is one already" in failed("rename", bundle, "alpha", "beta")
    assert svfit("rename", bundle, "alpha", "gamma").stdout == "default   gamma@1\nversions  1\n"
    assert done("list", bundle)["unnamed"] == "gamma@1"


def test_state_keeps_what_comes_later_elsewhere(bundle: Path, returns: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    done("add", bundle, returns, "--name", "returns", "--state", state)
    assert not (bundle / "state").exists()
    assert done("show", bundle, "returns", "--state", state)["version"] == 1
    assert "no adapter 'returns'" in failed("show", bundle, "returns")
    Bundle.open(bundle)  # every file as sealed


def test_state_can_not_be_among_what_was_sealed(bundle: Path, returns: Path) -> None:
    told = failed("add", bundle, returns, "--name", "returns", "--state", bundle / "mine", code=2)
    assert "is in the bundle" in told
    Bundle.open(bundle)
    assert done("add", bundle, returns, "--name", "returns", "--state", bundle / "state")["version"] == 1


def test_reading_writes_nothing(bundle: Path, tmp_path: Path) -> None:
    done("list", bundle, "--state", tmp_path / "none")
    done("show", bundle, "alpha")
    assert not (tmp_path / "none").exists()
    assert not (bundle / "state").exists()


def test_what_does_not_fit_is_refused_and_nothing_is_kept(bundle: Path, returns: Path, tmp_path: Path) -> None:
    other = make_adapter(tmp_path / "other", 5, basis_id="c" * 64)
    told = failed("add", bundle, other, "--name", "other")
    assert "c" * 64 in told
    assert BASIS_ID in told
    assert "no such folder" in failed("add", bundle, tmp_path / "gone", "--name", "gone")
    assert "adapter.json: can't be read" in failed("add", bundle, bundle, "--name", "itself")
    assert "a name is 1 to 64 letters" in failed("add", bundle, returns, "--name", "../x")
    assert "a name is 1 to 64 letters" in failed("add", bundle, returns, "--name", "returns@2")
    assert svfit("add", bundle, returns).exit_code == 2  # --name is missing
    assert len(done("list", bundle)["adapters"]) == 2


@pytest.mark.parametrize(
    "words",
    [["list"], ["show", "a"], ["remove", "a"], ["rename", "a", "b"], ["default", "a", "1"], ["rollback", "a"]],
)
def test_a_merged_bundle_says_how_to_get_one_that_swaps(tmp_path: Path, words: list[str]) -> None:
    merged = make_bundle(tmp_path / "merged")
    assert 'export with export.mode = "swappable"' in failed(words[0], merged, *words[1:])


def test_export_native_writes_what_onnxruntime_takes_and_the_labels(
    bundle: Path, returns: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        done("add", bundle, returns, "--name", "returns")
    out = tmp_path / "native"
    document = done("export-native", bundle, "returns@1", out)
    names = ["adapter.json", "head.onnx_adapter", "sigma.onnx_adapter"]
    assert (document["adapter"], document["head"]) == ("returns@1", "head.onnx")
    assert document["files"] == {name: (out / name).stat().st_size for name in names}
    assert sorted(path.name for path in out.iterdir()) == names
    assert (out / "adapter.json").read_bytes() == (returns / "adapter.json").read_bytes()
    example = Path(__file__).parents[2] / "examples" / "native_adapter.py"
    with Runtime(bundle) as runtime:
        (answer,) = runtime.predict("fan noisy", "returns")
    command = [sys.executable, str(example), str(bundle), str(out), "fan noisy"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"{answer.label}\n"


def test_export_native_overwrites_nothing_and_stays_out_of_the_bundle(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    assert "holds something" in failed("export-native", bundle, "alpha", tmp_path / "full", code=2)
    assert "is in the bundle" in failed("export-native", bundle, "alpha", bundle / "native", code=2)
    assert "no adapter 'gone'" in failed("export-native", bundle, "gone", tmp_path / "native")
    assert not (tmp_path / "native").exists()
    Bundle.open(bundle)


def test_adding_loads_neither_graphs_nor_what_a_device_lacks(bundle: Path, returns: Path) -> None:
    (bundle / "model.onnx").write_bytes(b"x" * (bundle / "model.onnx").stat().st_size)  # loading it would fail
    script = (
        "import sys\n"
        "from pipeline.cli import main\n"
        "main(sys.argv[1:], prog_name='svfit', standalone_mode=False)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    command = [sys.executable, "-c", script, "adapter", "add", str(bundle), str(returns), "--name", "returns", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"

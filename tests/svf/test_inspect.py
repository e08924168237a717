"""`svfit inspect` on a model, an adapter and a bundle."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from bridge_models import tiny
from click.testing import CliRunner, Result
from transformers import PreTrainedTokenizerFast

from export.core import Core
from export.store import FactorStore
from pipeline.cli import main
from pipeline.model.source import resolve
from pipeline.svf import wrap
from pipeline.svf.inspect import inspect_adapter
from pipeline.svf.spectra import inspect_model, spectrum
from serve.errors import UsageError

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from tiny_bundle import make_bundle
from tiny_images import save_vision


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SVFIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def model_folder(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    folder = tmp_path / "model"
    tiny("bert").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def adapter_folder(tmp_path: Path, cache: Path) -> Path:
    svfit = wrap(tiny("bert"), store=FactorStore(cache), rank=4)
    svfit.add("default")
    first = next(iter(svfit.layers.values()))
    with torch.no_grad():
        first.delta["default"].copy_(torch.tensor([0.0, -0.5, 0.25, 0.0]))
    folder = tmp_path / "adapter"
    folder.mkdir()
    svfit.save(folder, "default", {"task": "text-classification", "labels": ["a", "b", "c"]})
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["inspect", *map(str, arguments)])


def document(*arguments: object) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_a_model_shows_each_weights_spectrum(model_folder: Path) -> None:
    found = document(model_folder, "--rank", 2)
    row = found["layers"][0]
    weight = tiny("bert").get_submodule(row["name"]).weight
    values = torch.linalg.svdvals(weight.detach().double())
    assert found["kind"] == "model"
    assert len(found["layers"]) == 13
    assert row["name"] == "bert.encoder.layer.0.attention.self.query"
    assert row["max"] == pytest.approx(float(values[0]), rel=1e-6)
    assert row["min"] == pytest.approx(float(values[-1]), rel=1e-4)
    assert row["captured"] == pytest.approx(float(values[:2].square().sum() / values.square().sum()), rel=1e-6)
    assert row["energy"]["8"] == pytest.approx(float(values[:8].square().sum() / values.square().sum()), rel=1e-6)
    assert row["rank_for"]["0.9"] < row["rank_for"]["0.99"] <= 16
    assert found["values"] == 26


def test_the_second_look_finds_the_factors_and_says_so(model_folder: Path) -> None:
    first, second = run(model_folder, "--quick"), run(model_folder, "--quick")
    assert "13 of 13 weights decomposed" in first.stderr
    assert "no SVD computed" in second.stderr
    assert "encoder.layer.1.output.dense" in second.stdout
    assert run(model_folder, "--quick", "--quiet").stderr == ""


def test_a_models_basis_is_the_one_that_wrapping_it_gives(model_folder: Path, cache: Path) -> None:
    found = inspect_model(resolve(str(model_folder)), rank=0.9, store=FactorStore(cache))
    svfit = wrap(tiny("bert"), rank=0.9, whole=found["trained_whole"], store=FactorStore(cache))
    assert svfit.basis.id == found["basis_id"]
    assert svfit.found.computed == 0


def test_a_model_of_images_shows_its_spectra_alone(tmp_path: Path) -> None:
    folder = save_vision(tmp_path / "vit")
    found = document(folder)
    assert found["outputs"] is None
    assert {row["name"].rpartition(".")[2] for row in found["layers"]} >= {"q_proj", "fc1"}
    texts = tmp_path / "texts.txt"
    texts.write_text("a text\nanother\n")
    assert "takes images; leave it out" in run(folder, "--texts", texts).stderr


def test_targets_reach_convolutions(tmp_path: Path) -> None:
    folder = save_vision(tmp_path / "resnet", "resnet")
    refused = run(folder)
    assert refused.exit_code == 2
    assert '--targets "all"' in refused.stderr
    shapes = [row["shape"] for row in document(folder, "--targets", "all")["layers"]]
    assert all(len(shape) == 2 for shape in shapes)
    assert [row["name"] for row in document(folder, "--targets", ".*embedder.*convolution")["layers"]] != []
    assert len(document(folder, "--targets", ".*embedder.*convolution")["layers"]) < len(shapes)


def test_layers_narrows_and_refuses_what_matches_nothing(model_folder: Path) -> None:
    found = document(model_folder, "--quick", "--layers", r"layer\.1\.")
    assert {row["name"].split(".")[3] for row in found["layers"]} == {"1"}
    nothing, broken = run(model_folder, "--layers", "decoder"), run(model_folder, "--layers", "(")
    assert nothing.exit_code == broken.exit_code == 2
    assert "matches none of the 13 layers" in nothing.stderr
    assert "not a regular expression" in broken.stderr


@pytest.mark.parametrize(("rank", "told"), [("some", "use a number"), ("0", "must be > 0"), ("1.5", "between 0 and 1")])
def test_a_rank_that_is_none_is_refused(model_folder: Path, rank: str, told: str) -> None:
    result = run(model_folder, "--rank", rank)
    assert result.exit_code == 2
    assert told in result.stderr


def test_a_model_is_told_what_cutting_it_does_and_which_rank_to_take(model_folder: Path, tmp_path: Path) -> None:
    texts, page = tmp_path / "texts.txt", tmp_path / "spectrum.html"
    texts.write_text("pump leak\nthe valve is hot\ndoor lamp dark\n", encoding="utf-8")
    result = run(model_folder, "--rank", 6, "--texts", texts, "--report", page, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["outputs"]["texts"] == 3
    assert found["outputs"]["source"] == str(texts)
    assert found["outputs"]["ranks"] == ["4", "6", "8", "12"]
    assert found["outputs"]["compared"] == "4"
    assert found["guidance"]["assumption"] in {"holds", "partly", "fails"}
    assert found["costs"][0] == {"core": "diagonal", "values": 78, "share": 78 / found["lora"], "fits": 16}
    assert "<!doctype html>" in page.read_text("utf-8")
    assert f"page written to {page}" in result.stderr


def test_guidance_stands_in_the_terminal(model_folder: Path) -> None:
    printed, quick = run(model_folder), run(model_folder, "--quick")
    for told in ("outputs of 24 texts", "whole model", "adapter.rank = ", "SVFit cuts nothing"):
        assert told in printed.stdout
    assert "outputs of 24 texts compared in" in printed.stderr
    assert "--quick it is measured" in " ".join(quick.stdout.split())
    assert "whole model" not in quick.stdout


def test_an_adapter_of_another_core_shows_what_lies_off_its_diagonal(tmp_path: Path, cache: Path) -> None:
    svfit = wrap(tiny("bert"), store=FactorStore(cache), rank=2, core=Core("dense"))
    svfit.add("default")
    first = next(iter(svfit.layers.values()))
    with torch.no_grad():
        first.delta["default"].copy_(torch.tensor([[4.0, 3.0], [0.0, 0.0]]))
    svfit.save(tmp_path, "default", {})
    row = inspect_adapter(tmp_path)["layers"][0]
    assert row["off_diagonal"] == pytest.approx(9 / 25)
    assert inspect_adapter(tmp_path)["layers"][1]["off_diagonal"] == 0
    printed = run(tmp_path)
    assert "off diagonal" in printed.stdout
    assert "36.0%" in printed.stdout
    assert "52 values of a dense core" in printed.stdout


def test_a_spectrum_whose_end_is_unknown_says_so() -> None:
    values = torch.linspace(10, 1, 100)
    energy = float(values.square().sum())
    whole, part = spectrum(values, 8, (100, 100)), spectrum(values[:40], 8, (100, 100), energy)
    assert part["captured"] == pytest.approx(whole["captured"])
    assert part["energy"] == pytest.approx({"8": whole["energy"]["8"], "32": whole["energy"]["32"]})
    assert part["min"] is part["effective_rank"] is part["rank_for"]["0.99"] is None
    assert (part["count"], part["known"]) == (100, 40)
    steep = spectrum(0.5 ** torch.arange(40.0), 8, (100, 100), energy=4 / 3)
    assert steep["rank_for"]["0.9"] == 2
    assert steep["flat"] is False


def test_an_adapter_shows_what_moved_most(adapter_folder: Path) -> None:
    found = inspect_adapter(adapter_folder)
    row = found["layers"][0]
    assert found["values"] == 52
    assert found["card"]["labels"] == ["a", "b", "c"]
    assert row["moved"] == 2
    assert row["delta_max"] == 0.5
    assert 0 < row["relative"] < 1
    assert [(entry["layer"], entry["index"]) for entry in found["top"]] == [(row["name"], 1), (row["name"], 2)]
    assert found["top"][0]["became"] == pytest.approx(found["top"][0]["was"] - 0.5)
    assert found["layers"][1]["delta_rms"] == 0
    assert found["whole"] == {"classifier.weight": [3, 16], "classifier.bias": [3]}


def test_an_adapter_prints_as_a_table(adapter_folder: Path) -> None:
    result = run(adapter_folder)
    assert result.exit_code == 0, result.stderr
    assert "52 singular values, 51 in modules trained whole" in result.stdout
    assert "-0.5" in result.stdout
    assert "text-classification" in result.stdout


def test_layers_that_an_adapter_lacks_are_refused(adapter_folder: Path) -> None:
    with pytest.raises(UsageError, match="matches none"):
        inspect_adapter(adapter_folder, layers="decoder")


def test_a_bundle_shows_its_variants(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "bundle")
    found = document(folder)
    assert found["kind"] == "bundle"
    assert found["labels"]
    assert found["bytes"] > 0
    printed = run(folder)
    assert printed.exit_code == 0, printed.stderr
    assert "fp32 (default)" in printed.stdout


def test_a_bundle_is_inspected_without_torch(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "bundle")
    code = "import sys; sys.modules.update(torch=None, transformers=None); from pipeline.cli import main; main()"
    result = subprocess.run([sys.executable, "-c", code, "inspect", folder], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "fp32 (default)" in result.stdout


def test_options_that_say_nothing_about_a_target_are_refused(adapter_folder: Path, tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "bundle")
    page = tmp_path / "page.html"
    tried = [(adapter_folder, "--rank", 2), (folder, "--rank", 2), (folder, "--layers", "x"), (folder, "--quick")]
    for arguments in (*tried, (adapter_folder, "--report", page), (adapter_folder, "--texts", page)):
        result = run(*arguments)
        assert result.exit_code == 2
        assert "is about a model" in result.stderr


def test_a_target_that_is_nothing_is_told(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "no config.json" in result.stderr

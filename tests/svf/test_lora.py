"""An adapter as LoRA gives the same outputs in stock PEFT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from bridge_models import PEFTS_OWN, close, logits, tiny
from click.testing import CliRunner
from peft import PeftModel

from export.lora import to_lora
from export.store import FactorStore
from pipeline.cli import main
from pipeline.svf import SVFit, wrap
from serve.errors import InputError

pytestmark = pytest.mark.filterwarnings(PEFTS_OWN)


def trained(kind: str, root: Path, **options: Any) -> SVFit:
    """A wrapped model whose adapter moved, as training would: some directions, the head, and not the third layer."""
    svfit = wrap(tiny(kind), store=FactorStore(root), **options)
    svfit.add("default")
    svfit.activate("default")
    torch.manual_seed(7)
    with torch.no_grad():
        for position, layer in enumerate(svfit.layers.values()):
            if position != 2:
                layer.delta["default"].normal_(0, 0.3)[1] = 0.0
        for _, parameter in svfit.trainable()["head"]:
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return svfit


@pytest.mark.parametrize(
    ("kind", "rank"), [("bert", "full"), ("roberta", 0.8), ("gpt2", {"attn": 3, ".": "full"}), ("pooled", 4)]
)
def test_stock_peft_gives_the_same_outputs(kind: str, rank: Any, tmp_path: Path) -> None:
    svfit = trained(kind, tmp_path, rank=rank)
    summary = to_lora(svfit.export("default"), FactorStore(tmp_path), tmp_path, conv1d=kind == "gpt2")
    expected = logits(svfit.model)
    loaded = PeftModel.from_pretrained(tiny(kind), tmp_path).eval()
    assert summary["layers"] == len(svfit.layers) - 1
    assert close(logits(loaded), expected)
    assert not close(logits(tiny(kind)), expected)
    with loaded.disable_adapter():
        assert torch.equal(logits(loaded), logits(tiny(kind)))
    assert close(logits(loaded.merge_and_unload()), expected)


def test_trained_norms_travel_with_it(tmp_path: Path) -> None:
    svfit = trained("bert", tmp_path, train_layernorm=True)
    to_lora(svfit.export("default", {"whole_modules": svfit.whole}), FactorStore(tmp_path), tmp_path)
    loaded = PeftModel.from_pretrained(tiny("bert"), tmp_path).eval()
    assert close(logits(loaded), logits(svfit.model))


def test_a_bias_trained_by_itself_is_refused(tmp_path: Path) -> None:
    svfit = trained("bert", tmp_path, train_bias=True)
    with pytest.raises(InputError, match="bias was trained by itself"):
        to_lora(svfit.export("default"), FactorStore(tmp_path), tmp_path)


def test_an_adapter_that_moved_nothing_is_refused(tmp_path: Path) -> None:
    svfit = wrap(tiny("bert"), store=FactorStore(tmp_path))
    svfit.add("default")
    with pytest.raises(InputError, match="moved no singular value"):
        to_lora(svfit.export("default"), FactorStore(tmp_path), tmp_path)


def test_factors_that_are_not_here_are_refused(tmp_path: Path) -> None:
    svfit = trained("bert", tmp_path)
    with pytest.raises(InputError, match="no factors for layer"):
        to_lora(svfit.export("default"), FactorStore(tmp_path / "empty"), tmp_path)


def test_the_command_writes_what_peft_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVFIT_CACHE", str(tmp_path))
    base, source, output = tmp_path / "base", tmp_path / "adapter", tmp_path / "lora"
    tiny("gpt2").save_pretrained(base)
    svfit = trained("gpt2", tmp_path)
    source.mkdir()
    svfit.save(source, "default", {"base": {"name": str(base)}, "labels": ["a", "b", "c"]})
    result = CliRunner().invoke(main, ["adapter", "to-lora", str(source), str(output), "--json"])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["modules_to_save"] == ["score"]
    assert json.loads((output / "adapter_config.json").read_text())["fan_in_fan_out"] is True
    assert "PeftModel.from_pretrained" in (output / "README.md").read_text()
    assert close(logits(PeftModel.from_pretrained(tiny("gpt2"), output).eval()), logits(svfit.model))
    again = CliRunner().invoke(main, ["adapter", "to-lora", str(source), str(output)])
    assert again.exit_code == 2
    assert "name a new folder" in again.stderr


def test_the_command_says_what_it_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVFIT_CACHE", str(tmp_path))
    source = tmp_path / "adapter"
    source.mkdir()
    trained("bert", tmp_path).save(source, "default", {"base": {"name": "some/where"}})
    result = CliRunner().invoke(main, ["adapter", "to-lora", str(source), str(tmp_path / "lora")])
    assert result.exit_code == 0, result.stderr
    assert "rank 15" in result.stdout
    assert "some/where isn't on this machine" in result.stderr

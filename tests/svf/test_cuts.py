"""What a model's outputs owe to some of its singular directions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from bridge_models import tiny
from transformers import PreTrainedTokenizerFast

from export.basis import Factors
from pipeline.model.load import Loaded
from pipeline.svf.cuts import Outputs, kind_of, measure_outputs, ranks_for
from pipeline.svf.decompose import decompose_weight
from pipeline.svf.targets import find_targets
from pipeline.svf.texts import LIMIT, SAMPLES, read_texts
from pipeline.svf.weights import oriented_weight
from serve.errors import InputError

TEXTS = ["pump leak", "the valve is hot", "door lamp dark", "fan noise noise cold"]


def prepared(
    kind: str, tokenizer: PreTrainedTokenizerFast
) -> tuple[Loaded, dict[str, torch.Tensor], dict[str, Factors]]:
    model = tiny(kind)
    whole = ("score",) if kind == "gpt2" else ("classifier", "bert.pooler")
    targets = find_targets(model, "all-linear", whole)
    weights = {name: oriented_weight(module).detach() for name, module in targets.items()}
    factors = {name: decompose_weight(weight) for name, weight in weights.items()}
    return Loaded(model, tokenizer, whole, "mean"), weights, factors


def measured(loaded: Loaded, weights: Any, factors: Any, *ranks: int, compared: tuple[str, ...] = ()) -> dict[str, Any]:
    named: dict[str, Mapping[str, int]] = {str(rank): dict.fromkeys(weights, rank) for rank in ranks}
    return measure_outputs(loaded, weights, factors, TEXTS, named, compared)


@pytest.mark.parametrize("kind", ["pooled", "gpt2"])
def test_the_model_stays_as_it_is_bit_for_bit(kind: str, tokenizer: PreTrainedTokenizerFast) -> None:
    loaded, weights, factors = prepared(kind, tokenizer)
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    places = {name: value.data_ptr() for name, value in loaded.model.named_parameters()}
    loaded.model.train()
    measured(loaded, weights, factors, 2, 8)
    after = loaded.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert places == {name: value.data_ptr() for name, value in loaded.model.named_parameters()}
    assert loaded.model.training
    assert all(value.grad is None for value in loaded.model.parameters())


def test_the_model_stays_as_it_is_where_a_call_fails(tokenizer: PreTrainedTokenizerFast) -> None:
    loaded, weights, _ = prepared("pooled", tokenizer)
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    outputs = Outputs(loaded, TEXTS)
    with pytest.raises(RuntimeError):
        outputs({name: weight[:, :1] for name, weight in weights.items()})
    assert all(torch.equal(before[name], value) for name, value in loaded.model.state_dict().items())


@pytest.mark.parametrize("kind", ["pooled", "gpt2"])
def test_all_directions_keep_everything_and_none_keep_nothing(kind: str, tokenizer: PreTrainedTokenizerFast) -> None:
    loaded, weights, factors = prepared(kind, tokenizer)
    found = measured(loaded, weights, factors, 16, compared=("16",))
    assert all(cut["cosine"] == pytest.approx(1, abs=1e-6) for cut in found["cuts"])  # 16 is all, whatever the way
    assert {round(c["kept"], 4) for c in found["cuts"] if c["group"] == "all"} == {1.0}
    outputs = Outputs(loaded, TEXTS)
    zero = outputs({name: torch.zeros_like(weight) for name, weight in weights.items()})
    cosine = torch.cosine_similarity(zero, outputs(), dim=1).mean()
    assert found["left_out"]["all"] == pytest.approx(float(cosine))


def test_a_weight_of_few_directions_is_kept_by_its_top_ones_alone(tokenizer: PreTrainedTokenizerFast) -> None:
    loaded, weights, factors = prepared("pooled", tokenizer)
    modules = dict(loaded.model.named_modules())
    with torch.no_grad():
        for name, part in factors.items():
            small = Factors(part.U, torch.cat([part.S[:4], part.S[4:] * 1e-3]), part.Vh)
            factors[name] = small
            modules[name].weight.copy_((small.U * small.S) @ small.Vh)
    weights = {name: oriented_weight(modules[name]).detach() for name in weights}
    found = measured(loaded, weights, factors, 4, compared=("4",))
    kept = {(cut["group"], cut["way"]): cut["kept"] for cut in found["cuts"]}
    assert kept["all", "top"] > 0.99
    assert kept["all", "bottom"] < 0.5
    assert kept["all", "random"] < kept["all", "top"]
    assert kept["attention.self.value", "bottom"] == pytest.approx(0, abs=0.05)


def test_kinds_are_compared_in_every_way_only_where_asked(tokenizer: PreTrainedTokenizerFast) -> None:
    found = measured(*prepared("pooled", tokenizer), 2, 8, compared=("8",))
    ways = {(c["rank"], c["way"]) for c in found["cuts"] if c["group"] == "output.dense"}
    assert ways == {("2", "top"), ("8", "top"), ("8", "bottom"), ("8", "random")}
    assert {(p["rank"], p["way"]) for p in found["pushes"]} == {
        (rank, way) for rank in ("2", "8") for way in ("top", "bottom", "random")
    }
    assert found["groups"]["all"] == sum(count for group, count in found["groups"].items() if group != "all") == 12


def test_the_same_model_gives_the_same_numbers(tokenizer: PreTrainedTokenizerFast) -> None:
    first, second = (measured(*prepared("pooled", tokenizer), 2) for _ in range(2))
    assert first["cuts"] == second["cuts"]
    assert first["pushes"] == second["pushes"]


def test_factors_that_are_not_complete_are_cut_to_the_top_only(tokenizer: PreTrainedTokenizerFast) -> None:
    loaded, weights, factors = prepared("pooled", tokenizer)
    found = measured(loaded, weights, {name: part.top(8) for name, part in factors.items()}, 4)
    assert not found["complete"]
    assert {cut["way"] for cut in found["cuts"]} == {push["way"] for push in found["pushes"]} == {"top"}


def test_outputs_that_are_not_finite_are_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    loaded, weights, factors = prepared("pooled", tokenizer)
    with torch.no_grad():
        loaded.model.get_submodule("encoder.embeddings.LayerNorm").get_parameter("weight").fill_(torch.inf)
    with pytest.raises(InputError, match="NaN or infinity"):
        measured(loaded, weights, factors, 2)


def test_what_is_not_looked_at_has_no_share(tokenizer: PreTrainedTokenizerFast) -> None:
    model = tiny("bert")
    targets = find_targets(model, "all-linear", ("classifier",))
    weights = {name: oriented_weight(module).detach() for name, module in targets.items()}
    factors = {name: decompose_weight(weight) for name, weight in weights.items()}
    found = measured(Loaded(model, tokenizer, ("classifier",), "architecture"), weights, factors, 2)
    kept = {cut["group"]: cut["kept"] for cut in found["cuts"] if cut["way"] == "top"}
    assert kept["bert.pooler.dense"] is None  # it comes after the hidden state
    assert kept["output.dense"] is not None


def test_ranks_to_try_are_few_and_below_the_full_one() -> None:
    assert ranks_for([384] * 36) == [8, 32, 96, 192, 288]
    assert ranks_for([16, 16, 12]) == [4, 8, 12]
    assert ranks_for([1]) == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [("encoder.layer.0.attention.self.query", "attention.self.query"), ("bert.pooler.dense", "bert.pooler.dense")],
)
def test_a_kind_is_what_stands_behind_the_last_number(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_texts_come_from_lines_or_a_column(tmp_path: Path) -> None:
    lines, table = tmp_path / "a.txt", tmp_path / "b.csv"
    lines.write_text("one\n\n two \n", encoding="utf-8")
    table.write_text("said,label\none,1\ntwo,2\n", encoding="utf-8")
    assert read_texts(lines) == read_texts(table, "said") == ["one", "two"]
    lines.write_text("x\n" * 100, encoding="utf-8")
    assert len(read_texts(lines)) == LIMIT
    assert len(set(SAMPLES)) == len(SAMPLES) <= LIMIT


@pytest.mark.parametrize(("content", "told"), [("only one\n", "holds 1 texts"), (None, "no such file")])
def test_texts_that_are_too_few_are_refused(content: str | None, told: str, tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=told):
        read_texts(path)


def test_a_table_without_the_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("said,label\none,1\ntwo,2\n", encoding="utf-8")
    with pytest.raises(InputError, match="text"):
        read_texts(path)

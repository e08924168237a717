"""Which layers are scaled: names, endings, patterns; what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

from pipeline.svf.targets import find_targets
from serve.errors import UsageError

TinyModel = Callable[..., Any]


class Tied(nn.Module):
    """An embedding and a linear map that share one weight, and a free map."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(6, 4)
        self.free = nn.Linear(4, 4)
        self.back = nn.Linear(4, 6)
        self.back.weight = self.words.weight


class Twice(nn.Module):
    """One module under two names; each use of `second` would miss what replaces `first`."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = self.first


class Stack(nn.Module):
    """One block under two names: what replaces a layer inside it is seen from both."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Linear(4, 4))
        self.two = self.one


def test_all_linear_takes_every_linear_layer_but_the_head(tiny_model: TinyModel) -> None:
    model = tiny_model("bert")
    found = find_targets(model, "all-linear", ["classifier"])
    assert len(found) == 13  # two layers of six, and the pooler
    assert not any(name.startswith("classifier") for name in found)
    assert list(found) == [name for name, _ in model.named_modules() if name in found], "in the model's order"


def test_a_head_is_not_taken_for_its_name_s_beginning() -> None:
    model = nn.ModuleDict({"head": nn.Linear(2, 2), "head_norm": nn.Linear(2, 2)})
    assert list(find_targets(model, whole=["head"])) == ["head_norm"]


@pytest.mark.parametrize(
    ("targets", "count"),
    [
        (["query"], 2),
        (["query", "value"], 4),
        (["output.dense"], 4),
        (["attention.output.dense"], 2),
        (["bert.encoder.layer.0.attention.self.query"], 1),
        (r".*\.layer\.1\..*", 6),
        (r".*(query|key)", 4),
    ],
)
def test_names_endings_and_patterns(tiny_model: TinyModel, targets: Any, count: int) -> None:
    assert len(find_targets(tiny_model("bert"), targets, ["classifier"])) == count


def test_an_ending_is_whole_words(tiny_model: TinyModel) -> None:
    with pytest.raises(UsageError, match="no layer matches 'uery'"):
        find_targets(tiny_model("bert"), ["uery"])


def test_nothing_that_matches_is_told_with_what_there_is(tiny_model: TinyModel) -> None:
    with pytest.raises(UsageError, match=r"'qurey'; available: dense, key, query, value; did you mean 'query'\?$"):
        find_targets(tiny_model("bert"), ["value", "qurey"], ["classifier"])


def test_a_pattern_that_is_only_an_ending_says_how_to_write_it(tiny_model: TinyModel) -> None:
    with pytest.raises(UsageError, match=r"a pattern matches the whole name; try \['query'\] or '\.\*query'"):
        find_targets(tiny_model("bert"), "query")


def test_a_broken_pattern_is_refused(tiny_model: TinyModel) -> None:
    with pytest.raises(UsageError, match=r"adapter\.targets: '\(query' is no pattern"):
        find_targets(tiny_model("bert"), "(query")


def test_a_model_without_linear_layers_is_refused() -> None:
    with pytest.raises(UsageError, match="available: none"):
        find_targets(nn.Sequential(nn.ReLU()))


def test_a_tied_weight_is_refused_with_the_other_owner() -> None:
    with pytest.raises(UsageError, match=r"the weight of back is tied to words\.weight; scaling it would change both"):
        find_targets(Tied())


def test_the_layers_beside_a_tied_weight_can_be_named() -> None:
    assert list(find_targets(Tied(), ["free"])) == ["free"]


def test_one_module_under_two_names_is_refused() -> None:
    with pytest.raises(UsageError, match=r"the weight of first is tied to second\.weight"):
        find_targets(Twice())


def test_a_shared_block_is_one_target() -> None:
    assert list(find_targets(Stack())) == ["one.0"]


def test_albert_s_shared_layer_is_one_target(tiny_model: TinyModel) -> None:
    found = find_targets(tiny_model("albert"), "all-linear", ["classifier"])
    assert sum("albert_layers" in name for name in found) == 6

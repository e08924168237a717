"""Comparisons that really train, on a tiny model; in this process, so that they are quick."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from pipeline.compare import cell as cells
from pipeline.compare.cell import Cell
from pipeline.compare.engine import Record
from pipeline.compare.lock import alone
from pipeline.compare.problem import ConfiguredProblem
from pipeline.compare.result import Comparison, MethodResult
from pipeline.compare.run import Request, compare
from pipeline.train.plan import Plan
from serve.errors import Conflict, UsageError


class Quiet:
    def begin(self, cell: Cell, phase: str) -> None: ...

    def step(self, done: int, total: int) -> None: ...

    def end(self, cell: Cell, record: Record, *, kept: bool) -> None: ...

    def again(self, cell: Cell) -> None: ...

    def skip(self, cells: int) -> None: ...


def here(work: Any, log: Path, tell: Callable[[int, int], None]) -> dict[str, Any]:
    """As in another process: pickled on the way there."""
    found: dict[str, Any] = pickle.loads(pickle.dumps(work))(tell)  # noqa: S301 (our own bytes)
    return found


def compared(toml: Path, *methods: str, sets: tuple[str, ...] = (), seeds: int = 1, rates: int = 1) -> Comparison:
    request = Request(ConfiguredProblem(toml, sets), methods, seeds, rates, {"per_hour": 3.6, "currency": "EUR"})
    return compare(request, toml.parent / "out", lambda *_: Quiet(), run=here)


def test_the_document_holds_what_was_measured(toml: Path) -> None:
    found = compared(toml, "svfit", "lora:2", "head", seeds=2)
    assert set(found) == set(Comparison.__annotations__)
    assert found["data"]["rows"] == {"train": 160, "validation": 40, "test": 40}
    layers = [(32, 32)] * 8 + [(48, 32), (32, 48)] * 2
    assert found["lora_values"] == sum(8 * (out + inp) for out, inp in layers)
    assert found["full_values"] == sum(out * inp for out, inp in layers)
    svfit, lora, head = found["methods"]
    for one in found["methods"]:
        assert set(one) == set(MethodResult.__annotations__)
        assert one["validation"] is not None and one["test"] is not None and one["cost"] is not None
        assert len(one["validation"]["accuracy"]["values"]) == len(one["test"]["accuracy"]["values"]) == 2
        assert one["cost"]["all"] == pytest.approx(one["sweep_seconds"] / 1000)  # 3.6 an hour is a thousandth a second
        assert [row["epoch"] for row in one["epochs"]] == [1.0, 2.0]
        assert one["curve"]
    assert svfit["trained"] == {"adapter": 32 * 12, "head": 66}
    assert svfit["share_of_lora"] == pytest.approx(32 * 12 / found["lora_values"])
    assert lora["share_of_lora"] == pytest.approx(1 / 4)
    assert (head["share_of_lora"], head["bytes"]) == (0, 4 * 66)
    assert found["recommendation"]["method"] in {"svfit", "lora:2", "head"}
    page = (toml.parent / "out" / "report.html").read_text()
    assert page.startswith("<!doctype html>")


def test_a_rate_that_diverges_is_told_as_failed(toml: Path) -> None:
    found = compared(toml, "svfit", sets=("train.learning_rate=1e20", "train.max_grad_norm=0"))
    (svfit,) = found["methods"]
    assert (svfit["status"], svfit["rates"][0]["status"], svfit["trained"]) == ("failed", "failed", None)
    assert svfit["reason"] is not None and "its rate failed: training diverged" in svfit["reason"]
    assert "try a lower" not in svfit["reason"]  # a sweep tries other rates anyway
    assert found["recommendation"]["method"] is None


def test_the_same_seed_gives_every_method_the_same_head_and_order(toml: Path, tmp_path: Path) -> None:
    orders: dict[str, list[Any]] = {}
    heads = {}
    for name in ("svfit", "lora", "full", "head"):
        seen = orders[name] = []

        def note(module: Any, _: Any, given: Any, seen: list[Any] = seen) -> None:
            if module.training:
                seen.append(given["input_ids"].tolist())

        class Watched(ConfiguredProblem):
            def rows(self, split: str, loaded: Any, note: Any = note) -> Any:
                rows = super().rows(split, loaded)
                if split == "train":
                    loaded.model.register_forward_pre_hook(note, with_kwargs=True)
                return rows

        folder = tmp_path / name
        folder.mkdir()
        plan = Plan(epochs=1, batch_size=16, device="cpu", head_learning_rate=1e-12)
        cells.train(Watched(toml), Cell(name, 1e-12, 3), plan, folder)
        values = load_file(folder / cells.TRAINED)
        heads[name] = {key: value for key, value in values.items() if key.startswith("head.")}
    assert orders["svfit"] and all(order == orders["svfit"] for order in orders.values())
    for head in heads.values():
        assert all(abs(head[key] - heads["svfit"][key]).max() < 1e-8 for key in heads["svfit"])


def test_svfit_is_as_configured_and_all_methods_are_on_its_layers(toml: Path) -> None:
    sets = ("adapter.core=banded", "adapter.rank=4", 'adapter.targets=["query", "value"]')
    found = compared(toml, "svfit", "svfit:3", "lora:1", sets=sets)
    own, plain, lora = found["methods"]
    assert (own["title"], own["rates"][0]["rate"]) == ("banded k=1 r=4", 0.05)  # the file sets the rate
    assert own["trained"] == {"adapter": (4 + 2 * 3) * 4, "head": 66}
    assert (plain["title"], plain["trained"]) == ("SVFit r=3", {"adapter": 3 * 4, "head": 66})
    assert plain["rates"][0]["rate"] == 0.03
    assert lora["trained"] == {"adapter": 64 * 4, "head": 66}
    assert found["lora_values"] == 8 * 64 * 4


def test_directions_chosen_by_measuring_are_those_that_the_test_rows_meet(toml: Path) -> None:
    found = compared(toml, "svfit", sets=("adapter.rank=auto", "adapter.budget=40"))
    (svfit,) = found["methods"]
    assert svfit["reason"] is None
    assert svfit["trained"] == {"adapter": 40, "head": 66}
    assert svfit["test"] is not None


def test_biases_and_norms_count_as_the_adapters_not_the_heads(toml: Path) -> None:
    found = compared(toml, "svfit", sets=("adapter.train_bias=true", "adapter.rank=1"))
    (svfit,) = found["methods"]
    biases = 2 * (32 * 5 + 48)  # of a block's six linear layers
    assert svfit["trained"] == {"adapter": 12 + biases, "head": 66}
    assert svfit["title"] == "SVFit r=1 + biases"


def test_numbers_are_compared_too_and_steps_may_be_limited(toml: Path) -> None:
    rows = [f"{'pump ' * (1 + place % 4)}leak,{place % 4}.5" for place in range(60)]
    (toml.parent / "train.csv").write_text("text,label\n" + "\n".join(rows))
    toml.write_text(toml.read_text().replace('test = "test.csv"\n', ""))
    found = compared(toml, "head", sets=("train.max_steps=3",))
    (head,) = found["methods"]
    assert (found["task"], found["metric"], head["test"], head["epochs"]) == ("text-regression", "pearson", None, [])
    assert head["validation"] is not None and set(head["validation"]) >= {"pearson", "mse", "loss"}


@pytest.mark.parametrize(
    ("sets", "methods", "said"),
    [
        (("train.metric=pearson",), ("head",), "train.metric: pearson says nothing about text-classification"),
        (("adapter.rank=4",), ("svfit", "svfit:4"), "'svfit' and 'svfit:4' are both SVFit r=4"),
        ((), ("lora", "lora:8"), "'lora' and 'lora:8' are both LoRA r=8"),
        (("adapter.onto=some.bundle",), ("svfit",), "adapter.onto: binds svfit"),
        (('adapter.targets=["nothing"]',), ("head",), "adapter.targets: no layer matches 'nothing'"),
        (('adapter.head_modules=["nothing"]',), ("head",), "adapter.head_modules: the model has no module 'nothing'"),
    ],
)
def test_what_makes_no_sense_is_refused(toml: Path, sets: tuple[str, ...], methods: tuple[str, ...], said: str) -> None:
    (toml.parent / "some.bundle").mkdir()
    with pytest.raises(UsageError) as caught:
        compared(toml, *methods, sets=sets)
    assert said in str(caught.value)


def test_two_comparisons_in_one_folder_are_refused_and_one_after_the_other_are_not(tmp_path: Path) -> None:
    said = "another comparison is at work there; wait for it, or name another folder"
    with (
        alone(tmp_path / "out"),
        alone(tmp_path / "other"),
        pytest.raises(Conflict, match=said),
        alone(tmp_path / "out"),
    ):
        pytest.fail("both went ahead")
    with alone(tmp_path / "out"):
        pass


def test_a_runs_folder_is_refused(toml: Path) -> None:
    (toml.parent / "out" / ".stages").mkdir(parents=True)
    with pytest.raises(UsageError, match="is a run's folder, whose report would be lost"):
        compared(toml, "head")

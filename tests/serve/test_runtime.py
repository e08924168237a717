"""One door for many adapters: who answers, with which version, whatever changes meanwhile."""

from __future__ import annotations

import dataclasses
import math
import random
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_bundle import LABELS, Shape, make_bundle
from tiny_swap import expected_logits, make_adapter, make_swap_bundle, tiny_delta, tiny_head

from serve.adapters.adapter import LoadedAdapter
from serve.adapters.registry import Registry
from serve.adapters.versions import VersionRecord
from serve.answers import softmax
from serve.engine import Engine
from serve.errors import Conflict, InputError, NotFound, UsageError
from serve.predictor import Predictor
from serve.runtime import Runtime

TEXTS = ["the pump is leaking again", "fan noisy", "", "the line", "pump pump pump"]


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    with Runtime(make_swap_bundle(tmp_path / "bundle"), threads=1) as opened:
        yield opened


def expected(runtime: Runtime, text: str, seed: int, labels: tuple[str, ...] = LABELS) -> dict[str, float]:
    """Every label's probability by the adapter of a seed, in numpy."""
    ids = runtime.prepare(text, runtime.pin()).pieces[0][0].tolist()
    logits = expected_logits(ids, tiny_delta(seed), tiny_head(seed, len(labels)))
    return dict(zip(labels, softmax(logits.astype(np.float32)).tolist(), strict=True))


def test_rows_are_answered_by_the_adapters_they_name_and_say_so(runtime: Runtime) -> None:
    names = ["alpha", "beta", "beta@1", None, "alpha@1"]
    answers = runtime.predict(TEXTS, names, batch_size=2)
    assert [answer.adapter for answer in answers] == ["alpha@1", "beta@1", "beta@1", "alpha@1", "alpha@1"]
    for text, answer, seed in zip(TEXTS, answers, [1, 2, 2, 1, 1], strict=True):
        wanted = expected(runtime, text, seed)
        assert answer.probabilities == pytest.approx(wanted, abs=1e-5)
        assert answer.label == max(wanted, key=wanted.__getitem__)
        assert answer.score == pytest.approx(max(wanted.values()), abs=1e-5)
        assert answer.value is None


def test_one_text_is_one_row_and_no_rows_give_no_answers(runtime: Runtime) -> None:
    (answer,) = runtime.predict("the pump", "beta")
    assert answer.adapter == "beta@1"
    assert runtime.predict([]) == runtime.predict([], []) == []


def test_a_regression_beside_classifications_gives_its_value(runtime: Runtime, tmp_path: Path) -> None:
    runtime.add(make_adapter(tmp_path / "hours", 9, ()), "hours")
    text, other = runtime.predict(["fan noisy", "fan noisy"], ["hours", "alpha"])
    ids = runtime.prepare("fan noisy", runtime.pin("hours")).pieces[0][0].tolist()
    assert text.value == text.score == pytest.approx(expected_logits(ids, tiny_delta(9), tiny_head(9, 1))[0], abs=1e-4)
    assert (text.label, text.probabilities) == (None, None)
    assert other.value is None


def test_pairs_are_answered_where_the_adapter_takes_pairs(runtime: Runtime, tmp_path: Path) -> None:
    runtime.add(make_adapter(tmp_path / "pairs", 3, texts=2), "pairs")
    (one,) = runtime.predict(("the pump", "fan"), "pairs")
    assert runtime.predict([("the pump", "fan")], ["pairs"]) == [one]
    assert len(runtime.predict(("the pump", "fan"), "alpha")) == 2  # two rows of one text
    with pytest.raises(InputError, match=r"row 1: adapter pairs@1 takes a pair of texts a row \(got 1\)"):
        runtime.predict(["the pump"], "pairs")


def test_a_row_is_cut_to_its_own_adapter_s_length(runtime: Runtime, tmp_path: Path) -> None:
    runtime.add(make_adapter(tmp_path / "short", 4, max_length=4), "short")
    text = "pump leaking fan noisy the line"
    assert runtime.prepare(text, runtime.pin("short")).pieces[0].shape == (3, 4)
    assert runtime.prepare(text, runtime.pin("alpha")).pieces[0].shape == (3, 8)


@pytest.mark.parametrize(
    ("rows", "adapter", "kind", "told"),
    [
        (["a", "b"], ["alpha"], UsageError, "1 adapters for 2 rows"),
        (["a"], "gamma", NotFound, "no adapter 'gamma'; there are: alpha, beta"),
        (["a"], "alpha@7", NotFound, "adapter alpha: no version 7"),
        (["a", 3], "alpha", InputError, "row 2"),
        (["a", "\udcff"], "alpha", InputError, "row 2: holds half a surrogate pair"),
    ],
)
def test_what_cannot_be_answered_is_told(runtime: Runtime, rows: Any, adapter: Any, kind: Any, told: str) -> None:
    with pytest.raises(kind, match=told):
        runtime.predict(rows, adapter)


def test_senseless_numbers_are_usage_errors(runtime: Runtime) -> None:
    with pytest.raises(UsageError, match="batch size must be at least 1"):
        runtime.predict(["a"], batch_size=0)
    for wrong in (-1.0, math.nan):
        with pytest.raises(UsageError, match="adapters_mb must be at least 0"):
            Runtime(runtime.bundle, adapters_mb=wrong)


def test_an_adapter_whose_answer_is_no_number_is_named_and_its_neighbours_are_answered(
    runtime: Runtime, tmp_path: Path
) -> None:
    delta = {name: np.full_like(value, 3e38) for name, value in tiny_delta(1).items()}
    runtime.add(make_adapter(tmp_path / "wild", delta=delta), "wild")
    with pytest.raises(InputError, match="adapter wild@1: its answer holds NaN or infinities"):
        runtime.predict(["the pump"], "wild")
    pins = [runtime.pin("wild"), runtime.pin("beta")]
    _, row = runtime.run([runtime.prepare("the pump", pin).pieces[0] for pin in pins], pins)
    (answer,) = runtime.answers([runtime.prepare("the pump", pins[1])], pins[1:2], [row])
    assert answer.probabilities == pytest.approx(expected(runtime, "the pump", 2), abs=1e-5)


def test_versions_come_go_and_are_pointed_at(runtime: Runtime, tmp_path: Path) -> None:
    def answering(ref: str) -> str:
        return runtime.predict("fan", ref)[0].adapter

    added = [runtime.add(make_adapter(tmp_path / f"{seed}", seed), "site") for seed in (5, 6, 7)]
    assert [info.version for info in added] == [1, 2, 3]
    assert (answering("site"), answering("site@1")) == ("site@3", "site@1")
    assert runtime.set_default("site", 1).version == 1
    assert runtime.predict("fan", "site")[0].probabilities == pytest.approx(expected(runtime, "fan", 5), abs=1e-5)
    assert runtime.rollback("site").version == 3
    with pytest.raises(Conflict, match="site@3"):
        runtime.remove("site@3")
    runtime.remove("site@2")
    assert runtime.show("site").versions == (1, 3)
    assert runtime.rename("site", "place").name == "place"
    assert answering("place").startswith("place@")
    with pytest.raises(NotFound):
        runtime.pin("site")
    runtime.remove("place")
    assert [info.name for info in runtime.list()] == ["alpha", "beta"]


def test_a_request_ends_on_the_version_it_began_with(runtime: Runtime, tmp_path: Path) -> None:
    runtime.add(make_adapter(tmp_path / "first", 5), "site")
    pin = runtime.pin("site")
    runtime.add(make_adapter(tmp_path / "second", 6), "site")
    runtime.remove("site")
    row = runtime.prepare("fan", pin)
    (logits,) = runtime.run(row.pieces, [pin])
    (answer,) = runtime.answers([row], [pin], [logits])
    assert answer.adapter == "site@1"
    assert answer.probabilities == pytest.approx(expected(runtime, "fan", 5), abs=1e-5)
    assert runtime.predict("fan", pin) == [answer]


def test_a_version_that_is_removed_while_it_loads_gives_way_to_what_its_name_means_then(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = make_adapter(tmp_path / "first", 5), make_adapter(tmp_path / "second", 6)
    with Runtime(runtime.bundle, threads=1) as other:
        other.add(first, "site")
        load = Registry.load

        def late(registry: Registry, record: VersionRecord) -> LoadedAdapter:
            monkeypatch.setattr(Registry, "load", load)
            other.remove("site")
            other.add(second, "site")
            return registry.load(record)

        monkeypatch.setattr(Registry, "load", late)
        assert runtime.pin("site").tag == "site@2"
        other.remove("site")
        with pytest.raises(NotFound):
            runtime.pin("site@2")


def test_a_list_tells_of_each_adapter_and_a_card_all_there_is(runtime: Runtime, tmp_path: Path) -> None:
    runtime.add(make_adapter(tmp_path / "new", 3, ("x", "y"), metrics={"accuracy": 0.9}), "new")
    alpha, beta, new = runtime.list()
    assert (alpha.name, alpha.version, alpha.versions, alpha.sealed, alpha.at) == (
        "alpha",
        1,
        (1,),
        True,
        "2026-01-01T00:00:00Z",
    )
    assert (alpha.in_memory, beta.in_memory, new.in_memory) == (False, False, True)
    assert (new.task, new.labels, new.metrics, new.sealed) == (
        "text-classification",
        ("x", "y"),
        {"accuracy": 0.9},
        False,
    )
    card = runtime.show("alpha@1")
    assert card.card["trained"] == {"adapter": 32}
    assert card.in_memory
    assert {**dataclasses.asdict(card), "card": None, "in_memory": False} == {**dataclasses.asdict(alpha), "card": None}


def test_the_least_used_leave_memory_and_come_back_with_the_same_answers(tmp_path: Path) -> None:
    with Runtime(make_swap_bundle(tmp_path / "bundle"), threads=1, adapters_mb=4 / 1024) as runtime:
        for seed in range(6):
            runtime.add(make_adapter(tmp_path / f"{seed}", seed), f"site{seed}")
        for _ in range(2):
            for seed in range(6):
                (answer,) = runtime.predict("the pump", f"site{seed}")
                assert answer.probabilities == pytest.approx(expected(runtime, "the pump", seed), abs=1e-5)
        stats = runtime.stats()
        assert stats["evictions"] > 0
        assert stats["bytes"] <= 4 * 1024
        assert stats["loads"] - stats["evictions"] == stats["adapters"]


def test_swaps_count_adapters_that_the_batch_before_had_not(runtime: Runtime) -> None:
    for names in (["alpha", "alpha"], ["alpha", "beta"], ["beta", "beta"], ["alpha", "beta"]):
        runtime.predict(["a", "b"], names)
    assert runtime.stats()["swaps"] == 3


def test_a_promoted_adapter_answers_the_same_alone_and_beside_others(runtime: Runtime) -> None:
    names = ["alpha", "beta", "alpha", "beta@1", None]
    before = runtime.predict(TEXTS, names)
    assert not runtime.show("alpha").promoted
    assert runtime.promote("alpha", timeout=60)
    after = runtime.predict(TEXTS, names)
    alone = runtime.predict(TEXTS, "alpha")
    for old, new in zip(before, after, strict=True):
        assert old.adapter == new.adapter
        assert new.probabilities == pytest.approx(old.probabilities, abs=1e-5)
    assert alone[0].probabilities == pytest.approx(before[0].probabilities, abs=1e-5)
    assert [info.promoted for info in runtime.list()] == [True, False]
    assert (runtime.show("alpha").promoted, runtime.stats()["promoted"]) == (True, 1)
    assert [one.name for one in runtime.promoted()] == ["alpha"]
    runtime.demote("alpha")
    assert runtime.promoted() == []
    with pytest.raises(NotFound):
        runtime.demote("gamma")


def test_promoted_rows_run_in_their_session_and_the_others_together(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runtime.promote("alpha", timeout=60)
    calls: list[tuple[int, bool]] = []
    run = Engine.run

    def counted(engine: Engine, tokens: Any, adapters: Any, backbone: Any = None) -> Any:
        calls.append((len(tokens), backbone is not None))
        return run(engine, tokens, adapters, backbone)

    monkeypatch.setattr(Engine, "run", counted)
    texts = ["the pump", "fan noisy", "the line", "is leaking", "the fan again"]
    runtime.predict(texts, ["alpha", "beta", "alpha", "beta", "alpha"])
    assert calls == [(2, False), (3, True)]
    calls.clear()
    runtime.predict(texts, "alpha")
    assert calls == [(5, True)]


def test_a_promoted_name_s_new_default_takes_over_and_the_old_one_ends_what_it_began(
    runtime: Runtime, tmp_path: Path
) -> None:
    runtime.add(make_adapter(tmp_path / "first", 5), "site")
    assert runtime.promote("site", timeout=60)
    pin = runtime.pin("site")
    runtime.add(make_adapter(tmp_path / "second", 6), "site")
    assert runtime.promote("site", timeout=60)
    assert (runtime.show("site@1").promoted, runtime.show("site@2").promoted) == (False, True)
    for ref, seed in ((pin, 5), ("site", 6)):
        assert runtime.predict("fan", ref)[0].probabilities == pytest.approx(expected(runtime, "fan", seed), abs=1e-5)
    runtime.set_default("site", 1)
    runtime._promoter.settle(60)
    assert (runtime.show("site@1").promoted, runtime.show("site@2").promoted) == (True, False)
    runtime.rename("site", "place")
    assert [one.name for one in runtime.promoted()] == ["place"]
    runtime.remove("place")
    assert runtime.promoted() == []


def test_names_are_promoted_once_they_are_asked_for(tmp_path: Path) -> None:
    with Runtime(make_swap_bundle(tmp_path / "bundle"), threads=1, promote=["beta"]) as runtime:
        runtime.predict(TEXTS, "beta")
        runtime._promoter.settle(60)
        assert [info.promoted for info in runtime.list()] == [False, True]
        assert runtime.predict("fan", "beta")[0].probabilities == pytest.approx(expected(runtime, "fan", 2), abs=1e-5)


@pytest.mark.parametrize("variant", ["int8", "merged"])
def test_a_promotion_that_cannot_be_is_a_usage_error(tmp_path: Path, variant: str) -> None:
    path = make_bundle(tmp_path / "b") if variant == "merged" else make_swap_bundle(tmp_path / "b")
    with pytest.raises(UsageError, match="promote"):
        Runtime(path, variant="int8", promote="auto")


def test_what_was_added_is_there_for_the_next_runtime_and_elsewhere_if_told(tmp_path: Path) -> None:
    path, state = make_swap_bundle(tmp_path / "bundle"), tmp_path / "elsewhere"
    source = make_adapter(tmp_path / "new", 3)
    with Runtime(path, state=state) as runtime:
        runtime.add(((source / "adapter.json").read_bytes(), (source / "adapter.safetensors").read_bytes()), "new")
    with Runtime(path, state=str(state)) as runtime, Runtime(path) as other:
        assert runtime.predict("fan", "new")[0].adapter == "new@1"
        with pytest.raises(NotFound):
            other.pin("new")
    assert not (path / "state").exists()


def test_a_merged_bundle_answers_with_its_one_adapter_and_takes_no_other(tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "bundle")
    with Runtime(path, threads=1) as runtime:
        answers = runtime.predict(TEXTS, ["default", "default@1", None, None, None], batch_size=2)
        assert {answer.adapter for answer in answers} == {"default@1"}
        for answer, wanted in zip(answers, Predictor(path).predict(TEXTS), strict=True):
            assert answer.probabilities == pytest.approx(wanted.probabilities, abs=1e-6)
        assert [(info.name, info.version, info.labels) for info in runtime.list()] == [("default", 1, LABELS)]
        assert runtime.show("default").card == {"name": "default"}
        with pytest.raises(NotFound, match=r"no adapter 'beta'; this bundle is merged and has one: default@1"):
            runtime.predict("a", "beta")
        changes: list[tuple[Any, ...]] = [
            (runtime.add, make_adapter(tmp_path / "x"), "x"),
            (runtime.remove, "default"),
            (runtime.rename, "default", "x"),
            (runtime.set_default, "default", 1),
            (runtime.rollback, "default"),
            (runtime.promote, "default"),
            (runtime.demote, "default"),
        ]
        for change, *values in changes:
            with pytest.raises(Conflict, match=r'is merged.*export\.mode = "swappable"'):
                change(*values)
        assert runtime.predict([], None) == []


def test_a_merged_pair_regression_answers_through_the_same_door(tmp_path: Path) -> None:
    with Runtime(make_bundle(tmp_path / "bundle", Shape(texts=2, regression=True))) as runtime:
        (answer,) = runtime.predict([("the pump", "fan")])
        assert answer.value == answer.score
        with pytest.raises(InputError, match="row 1: this bundle takes a pair of texts"):
            runtime.predict(["the pump"])


def test_a_bundle_nobody_may_write_to_is_served(tmp_path: Path) -> None:
    path = make_swap_bundle(tmp_path / "bundle")
    before = sorted(str(file) for file in path.rglob("*"))
    path.chmod(0o555)
    try:
        with Runtime(path) as runtime:
            assert runtime.predict("fan")[0].adapter == "alpha@1"
    finally:
        path.chmod(0o755)
    assert sorted(str(file) for file in path.rglob("*")) == before


SEEDS = 8
CALLS, CALLERS, CHANGES = 250, 8, 10


@pytest.fixture
def _restless() -> Iterator[None]:
    """Threads take turns every tenth of a millisecond."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_restless")
@pytest.mark.parametrize("promote", ["never", ("site", "alpha", "guest")], ids=["shared", "promoted"])
def test_answers_are_right_and_name_their_version_while_adapters_come_and_go(tmp_path: Path, promote: Any) -> None:
    """Version v of `site` is of seed v % SEEDS; `guest` comes and goes, of seed 100. Memory is too small for all."""
    sources = [make_adapter(tmp_path / f"{seed}", seed) for seed in range(SEEDS)]
    guest = make_adapter(tmp_path / "guest", 100)
    path = make_swap_bundle(tmp_path / "bundle")
    with Runtime(path, threads=1, adapters_mb=12 / 1024, promote=promote) as runtime:
        runtime.add(sources[1], "site")
        seeds = {"alpha": 1, "beta": 2, "guest": 100}
        table = {seed: [expected(runtime, text, seed) for text in TEXTS] for seed in {*range(SEEDS), 100}}
        changed = threading.Event()
        seen: set[str] = set()

        def call(number: int) -> tuple[int, int]:
            rng = random.Random(number)  # noqa: S311
            made = gone = 0
            while made < CALLS or not changed.is_set():
                made += 1
                refs = [rng.choice(["site", "site", f"site@{rng.randint(1, 9)}", "alpha", "beta", "guest", None])]
                refs += [rng.choice(["site", "alpha", "beta"]) for _ in range(rng.randint(0, 3))]
                places = [rng.randrange(len(TEXTS)) for _ in refs]
                try:
                    answers = runtime.predict([TEXTS[place] for place in places], refs)
                except NotFound:
                    gone += 1
                    assert refs[0] == "guest" or "@" in str(refs[0])
                    continue
                for ref, place, answer in zip(refs, places, answers, strict=True):
                    name, _, version = answer.adapter.partition("@")
                    assert ref is None or ref in (name, answer.adapter)
                    seed = int(version) % SEEDS if name == "site" else seeds[name]
                    assert answer.probabilities == pytest.approx(table[seed][place], abs=1e-5)
                    seen.add(answer.adapter)
            return gone, made

        def change() -> None:
            rng = random.Random(0)  # noqa: S311
            for _ in range(CHANGES):
                runtime.add(guest, "guest")
                added = runtime.add(sources[(runtime.show("site").versions[-1] + 1) % SEEDS], "site")
                runtime.set_default("site", rng.choice(added.versions))
                runtime.rollback("site")
                if len(added.versions) > 4:
                    left = [one for one in added.versions if one != runtime.show("site").version]
                    runtime.remove(f"site@{left[0]}")
                runtime.remove("guest")

        with ThreadPoolExecutor(CALLERS) as threads:
            calls = [threads.submit(call, number) for number in range(CALLERS)]
            try:
                change()
            finally:
                changed.set()
            gone, made = (sum(counts) for counts in zip(*(one.result() for one in calls), strict=True))
        assert made >= CALLS * CALLERS
        assert gone < made / 2
        assert len(seen) > 8
        assert runtime.stats()["evictions"] > 0

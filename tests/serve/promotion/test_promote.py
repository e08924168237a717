"""Hot adapters get a session of their own: the same answers, within a budget, while requests flow."""

from __future__ import annotations

import dataclasses
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tiny_bundle import LABELS, Shape, make_bundle, reseal
from tiny_swap import expected_logits, make_adapter, make_swap_bundle, tiny_delta, tiny_head

import serve.promotion.promote
from serve.adapters.adapter import LoadedAdapter, read_adapter
from serve.bundle import Bundle
from serve.engine import Engine
from serve.errors import ClosingError, Conflict, InputError, UsageError
from serve.promotion.promote import Event, Promoter
from serve.promotion.promoted import PromotedSession, session_bytes
from serve.tokenize import TextTokenizer

TEXTS = ["the pump is leaking again", "fan noisy", "", "pump pump pump"]


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Stage:
    """A bundle, adapters of seeds 0 to 5, and promoters that are closed at the end."""

    def __init__(self, folder: Path) -> None:
        self.bundle = Bundle.open(make_swap_bundle(folder / "bundle"))
        self.tokenizer = TextTokenizer(self.bundle)
        self.tokens = [self.tokenizer.encode(text) for text in TEXTS]
        self.engine = Engine(self.bundle, self.tokenizer, threads=1)
        self.folders = [make_adapter(folder / f"adapter{seed}", seed) for seed in range(6)]
        self.adapters = [self.load(seed) for seed in range(6)]
        self.opened: list[Promoter] = []
        self.events: list[Event] = []
        self.clock = Clock()

    def load(self, seed: int) -> LoadedAdapter:
        return read_adapter(self.folders[seed], self.bundle.manifest)

    def promoter(self, policy: Any = "never", slots: float = 8, **options: Any) -> Promoter:
        made = Promoter(
            self.bundle,
            policy=policy,
            budget_mb=slots * session_bytes(self.bundle) / 2**20,
            threads=1,
            on_event=self.events.append,
            clock=self.clock,
            **options,
        )
        self.opened.append(made)
        return made

    def expected(self, seed: int) -> np.ndarray[Any, Any]:
        head = tiny_head(seed, len(LABELS))
        return np.stack([expected_logits(row[0].tolist(), tiny_delta(seed), head) for row in self.tokens])

    def told(self) -> list[tuple[str, str]]:
        return [(event.kind, event.name) for event in self.events]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    for promoter in made.opened:
        promoter.close()


def names(promoter: Promoter) -> list[str]:
    assert promoter.settle(30)
    return [entry.name for entry in promoter.promoted()]


def test_a_promoted_adapter_answers_as_the_swappable_graph_and_as_numpy(stage: Stage) -> None:
    promoter = stage.promoter()
    for seed, adapter in enumerate(stage.adapters):
        promoter.promote(f"a{seed}", adapter)
    assert names(promoter) == [f"a{seed}" for seed in range(6)]
    for seed, adapter in enumerate(stage.adapters):
        promoted = np.stack(stage.engine.run(stage.tokens, [adapter] * 4, promoter.session_for(adapter)))
        shared = np.stack(stage.engine.run(stage.tokens, [adapter] * 4))
        np.testing.assert_allclose(promoted, shared, atol=1e-4)
        np.testing.assert_allclose(promoted, stage.expected(seed), atol=1e-4)


def test_sessions_share_nothing_with_what_they_were_built_from(stage: Stage) -> None:
    sigma = stage.adapters[1].sigma.copy()
    session = PromotedSession(stage.bundle, sigma, threads=1)
    feeds = stage.tokenizer(TEXTS)
    before = session.run(feeds)["pooled"]
    sigma[:] = 7
    PromotedSession(stage.bundle, stage.adapters[2].sigma, threads=1)
    gc.collect()  # the folded arrays are gone
    np.testing.assert_array_equal(session.run(feeds)["pooled"], before)


def test_a_session_is_counted_with_its_graph_and_keeps_no_working_memory(stage: Stage) -> None:
    graph = (stage.bundle.path / "fold.onnx").stat().st_size
    assert session_bytes(stage.bundle) == 4 * (16 * 16 + 16 * 32) + graph
    session = PromotedSession(stage.bundle, stage.adapters[0].sigma, threads=1)
    assert not session._session.get_session_options().enable_cpu_mem_arena


def test_policy_never_builds_nothing_whatever_the_traffic(stage: Stage) -> None:
    promoter = stage.promoter("never")
    promoter.saw("a", stage.adapters[0], 100_000)
    assert names(promoter) == []
    assert promoter.session_for(stage.adapters[0]) is None
    assert not any(thread.name == "svfit-promote" for thread in threading.enumerate())


def test_named_adapters_are_promoted_as_soon_as_they_are_asked_for(stage: Stage) -> None:
    promoter = stage.promoter(["a", "b"])
    assert promoter.wanted() == ("a", "b")
    for name, adapter in zip("abc", stage.adapters, strict=False):
        promoter.saw(name, adapter, 1)
    assert names(promoter) == ["a", "b"]
    assert promoter.session_for(stage.adapters[2]) is None
    (first, _) = promoter.promoted()
    assert first.bytes == session_bytes(stage.bundle)


def test_auto_promotes_what_has_the_rows_and_the_share(stage: Stage) -> None:
    promoter = stage.promoter("auto")
    busy, *others = stage.adapters
    promoter.saw("busy", busy, 255)
    assert names(promoter) == []  # the share, not the rows
    for place in range(4):
        promoter.saw(f"other{place}", others[place], 250)
    promoter.saw("busy", busy, 20)
    assert names(promoter) == []  # the rows, not the share
    promoter.saw("busy", busy, 100)
    assert names(promoter) == ["busy"]


def test_rows_of_long_ago_count_for_little(stage: Stage) -> None:
    promoter = stage.promoter("auto")
    for _ in range(20):
        promoter.saw("slow", stage.adapters[0], 100)
        stage.clock.now += 120  # two half-lives: 133 rows stand at any time
    assert names(promoter) == []


def test_where_the_budget_is_full_the_least_used_leaves_for_one_with_twice_its_rows(stage: Stage) -> None:
    promoter = stage.promoter("auto", slots=2.9)
    for name, adapter, rows in zip("abc", stage.adapters, (400, 300, 590), strict=False):
        promoter.saw(name, adapter, rows)
        names(promoter)
    assert names(promoter) == ["a", "b"]  # 590 is not twice 300
    promoter.saw("c", stage.adapters[2], 10)
    assert names(promoter) == ["a", "c"]
    assert stage.told()[-2:] == [("demoted", "b"), ("promoted", "c")]
    promoter.saw("b", stage.adapters[1], 1)
    assert names(promoter) == ["a", "c"]


def test_the_budget_holds_at_every_moment(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    most, alive = 0, weakref.WeakSet[PromotedSession]()

    class Counted(PromotedSession):
        def __init__(self, *given: Any, **options: Any) -> None:
            nonlocal most
            super().__init__(*given, **options)
            alive.add(self)
            most = max(most, len(alive))

    monkeypatch.setattr(serve.promotion.promote, "PromotedSession", Counted)
    promoter = stage.promoter(["a", "b", "c", "d"], slots=2)
    for turn, name in enumerate("abcdabcd"):
        promoter.saw(name, stage.adapters[turn % 4], 3 ** (turn + 1))
        names(promoter)
    promoter.promote("d", stage.adapters[5])
    assert names(promoter) == ["c", "d"]
    assert most == 2


def test_by_hand_comes_before_auto_and_a_full_budget_is_told(stage: Stage) -> None:
    promoter = stage.promoter("auto", slots=1)
    promoter.saw("busy", stage.adapters[0], 1000)
    assert names(promoter) == ["busy"]
    promoter.promote("mine", stage.adapters[1])
    assert names(promoter) == ["mine"]
    promoter.saw("busy", stage.adapters[0], 100_000)
    assert names(promoter) == ["mine"]
    promoter.saw("mine", stage.adapters[1], 10)
    with pytest.raises(Conflict, match=r"adapter other: promote_mb = \S+ has no room beside mine; demote one"):
        promoter.promote("other", stage.adapters[2])
    assert promoter.wanted() == ("mine",)


def test_a_name_of_the_policy_stays_wanted_when_there_was_no_room_for_it(stage: Stage) -> None:
    promoter = stage.promoter(["a", "b"], slots=1)
    promoter.saw("a", stage.adapters[0], 10)
    assert names(promoter) == ["a"]
    with pytest.raises(Conflict):
        promoter.promote("b", stage.adapters[1])
    assert promoter.wanted() == ("a", "b")
    promoter.saw("b", stage.adapters[1], 20)
    assert names(promoter) == ["b"]


def test_one_adapter_under_two_names_is_built_once(stage: Stage) -> None:
    promoter = stage.promoter(["a", "b"])
    for name in ("a", "b"):
        promoter.saw(name, stage.adapters[0], 10)
        assert names(promoter) == ["a"]


def test_an_array_in_another_one_s_place_in_memory_is_not_taken_for_it(stage: Stage) -> None:
    promoter = stage.promoter(["a"])
    promoter.saw("a", stage.adapters[0], 1)
    assert names(promoter) == ["a"]
    promoter._table = {id(stage.adapters[1].sigma): promoter._table[id(stage.adapters[0].sigma)]}
    assert promoter.session_for(stage.adapters[1]) is None


def test_what_was_demoted_stays_so_until_it_is_promoted(stage: Stage) -> None:
    promoter = stage.promoter("auto")
    promoter.saw("a", stage.adapters[0], 1000)
    assert names(promoter) == ["a"]
    held = promoter.session_for(stage.adapters[0])
    promoter.demote("a")
    promoter.demote("nobody")
    assert promoter.session_for(stage.adapters[0]) is None
    promoter.saw("a", stage.adapters[0], 1000)
    assert names(promoter) == []
    assert held is not None
    held(stage.tokenizer(TEXTS))  # a request that began on it ends on it
    promoter.promote("a", stage.adapters[0])
    assert names(promoter) == ["a"]


def test_a_removed_name_starts_afresh_and_a_renamed_one_keeps_its_session(stage: Stage) -> None:
    promoter = stage.promoter("auto")
    promoter.saw("a", stage.adapters[0], 300)
    assert names(promoter) == ["a"]
    promoter.rename("a", "b")
    assert names(promoter) == ["b"]
    promoter.saw("b", stage.adapters[0], 300)
    assert stage.told() == [("promoted", "a")]
    promoter.forget("b")
    promoter.saw("b", stage.adapters[0], 255)
    assert names(promoter) == []
    promoter.saw("b", stage.adapters[0], 1)
    assert names(promoter) == ["b"]


def test_a_new_version_takes_over_as_its_traffic_does(stage: Stage) -> None:
    promoter = stage.promoter(["a"])
    old, new = stage.adapters[:2]
    promoter.saw("a", old, 100)
    assert names(promoter) == ["a"]
    began = promoter.session_for(old)
    promoter.saw("a", new, 63)
    assert names(promoter) == ["a"]
    assert promoter.session_for(new) is None  # 63 rows may be a test of it
    promoter.saw("a", old, 100)
    promoter.saw("a", new, 136)
    assert names(promoter) == ["a"]
    assert promoter.session_for(new) is None  # 199 are not twice the 100 of the old one
    promoter.saw("a", new, 1)
    names(promoter)
    assert promoter.session_for(new) is not None
    assert promoter.session_for(old) is None
    row = stage.engine.run(stage.tokens, [old] * 4, began)
    np.testing.assert_allclose(np.stack(row), stage.expected(0), atol=1e-4)


def test_a_new_default_version_takes_over_at_once_when_it_is_promoted(stage: Stage) -> None:
    promoter = stage.promoter()
    for seed in (0, 1):
        promoter.promote("a", stage.adapters[seed])
        assert names(promoter) == ["a"]
        assert promoter.session_for(stage.adapters[seed]) is not None
    assert promoter.session_for(stage.adapters[0]) is None


def test_an_adapter_that_comes_back_from_disk_finds_its_session(stage: Stage) -> None:
    promoter = stage.promoter(["a"])
    promoter.saw("a", stage.adapters[0], 1)
    assert names(promoter) == ["a"]
    again = stage.load(0)
    assert promoter.session_for(again) is None
    promoter.saw("a", again, 1)
    assert promoter.session_for(again) is not None
    promoter.promote("a", stage.adapters[0])
    assert promoter.session_for(stage.adapters[0]) is not None
    assert stage.told() == [("promoted", "a")]  # built once


def test_a_build_that_fails_is_told_once_and_the_swappable_graph_goes_on(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    wild = dataclasses.replace(stage.adapters[0], sigma=np.full(24, 3e38, dtype=np.float32))
    promoter = stage.promoter(["a", "b"])
    for _ in range(3):
        promoter.saw("a", wild, 10)
        assert names(promoter) == []
    (event,) = stage.events
    assert (event.kind, event.name) == ("failed", "a")
    assert "holds NaN or infinities with this adapter folded in" in event.reason
    assert "\n" not in event.reason
    assert [record.getMessage() for record in caplog.records] == [
        f"adapter a: not promoted, the shared graph answers ({event.reason})"
    ]
    assert promoter.session_for(wild) is None
    promoter.saw("a", stage.adapters[1], 1)  # a version that is better
    promoter.saw("b", stage.adapters[2], 1)
    assert names(promoter) == ["a", "b"]


def test_whatever_a_build_or_a_listener_raises_the_thread_goes_on(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*given: Any, **options: Any) -> PromotedSession:
        raise MemoryError

    def raising(event: Event) -> None:
        told.append(event.reason)
        raise RuntimeError("a listener's own")

    told: list[str] = []
    promoter = stage.promoter(["a", "b"])
    monkeypatch.setattr(promoter, "_on_event", raising)
    with monkeypatch.context() as patch:
        patch.setattr(serve.promotion.promote, "PromotedSession", broken)
        promoter.saw("a", stage.adapters[0], 1)
        assert names(promoter) == []
    promoter.saw("b", stage.adapters[1], 1)
    assert names(promoter) == ["b"]
    assert told == ["MemoryError", ""]
    assert caplog.text.count("the listener for promotions failed") == 2


def _held(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Builds wait for the second event, and set the first when they do."""
    began, go = threading.Event(), threading.Event()

    def slow(*given: Any, **options: Any) -> PromotedSession:
        began.set()
        assert go.wait(30)
        return PromotedSession(*given, **options)

    monkeypatch.setattr(serve.promotion.promote, "PromotedSession", slow)
    return began, go


@pytest.mark.parametrize("act", [lambda p: p.demote("a"), lambda p: p.forget("a"), lambda p: p.rename("a", "z")])
def test_what_is_demoted_while_it_is_built_does_not_appear(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, act: Callable[[Promoter], None]
) -> None:
    promoter = stage.promoter()
    began, go = _held(stage, monkeypatch)
    promoter.promote("a", stage.adapters[0])
    assert began.wait(30)
    act(promoter)
    go.set()
    promoter.promote("b", stage.adapters[1])
    assert names(promoter) == ["b"]


def test_the_version_asked_for_last_is_the_one_that_is_promoted(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    promoter = stage.promoter()
    began, go = _held(stage, monkeypatch)
    promoter.promote("a", stage.adapters[0])
    assert began.wait(30)
    promoter.promote("a", stage.adapters[1])
    go.set()
    assert names(promoter) == ["a"]
    assert promoter.session_for(stage.adapters[0]) is None
    assert promoter.session_for(stage.adapters[1]) is not None


def test_close_finishes_what_is_begun_joins_its_thread_and_lets_go(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoter = stage.promoter()
    promoter.promote("b", stage.adapters[1])
    names(promoter)
    began, go = _held(stage, monkeypatch)
    promoter.promote("a", stage.adapters[0])
    assert began.wait(30)
    threading.Timer(0.05, go.set).start()
    promoter.close()
    promoter.close()
    assert not any(thread.name == "svfit-promote" for thread in threading.enumerate())
    assert promoter.promoted() == []
    assert promoter.session_for(stage.adapters[1]) is None
    promoter.saw("a", stage.adapters[0], 1000)
    with pytest.raises(ClosingError):
        promoter.promote("a", stage.adapters[0])


def test_answers_stay_right_while_sessions_come_and_go_under_load(stage: Stage) -> None:
    promoter = stage.promoter("auto", slots=2)
    wanted = [stage.expected(seed) for seed in range(6)]
    wrong: list[float] = []
    used = [0, 0]  # rows by the swappable graph, rows by promoted sessions
    stop = threading.Event()

    def asking(seed: int) -> None:
        rng = np.random.default_rng(seed)
        while not stop.is_set():
            which = int(rng.integers(6))
            adapter = stage.load(which) if rng.random() < 0.1 else stage.adapters[which]
            promoter.saw(f"a{which}", adapter, 4)
            backbone = promoter.session_for(adapter)
            used[backbone is not None] += 4
            rows = np.stack(stage.engine.run(stage.tokens, [adapter] * 4, backbone))
            wrong.append(float(np.abs(rows - wanted[which]).max()))

    threads = [threading.Thread(target=asking, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(40):
        name, adapter = f"a{turn % 6}", stage.adapters[turn % 6]
        promoter.demote(name)
        promoter.saw(name, adapter, 1)
        promoter.demote(f"a{(turn + 3) % 6}")
        promoter.promote(name, adapter)
        assert promoter.settle(30)
        assert len(promoter.promoted()) <= 2
        promoter.demote(name)
        promoter.forget(f"a{(turn + 1) % 6}")
    stop.set()
    for thread in threads:
        thread.join()
    assert len(wrong) > 100
    assert max(wrong) < 1e-4
    assert min(used) > 0
    assert not any(event.kind == "failed" for event in stage.events)


def test_other_precisions_are_refused_with_what_to_do(stage: Stage) -> None:
    told = (
        r"promote: variant int8 is int8, and adapters are folded in fp32.*choose variant fp32, or promote = \"never\""
    )
    for policy in ("auto", ["a"]):
        with pytest.raises(UsageError, match=told):
            Promoter(stage.bundle, "int8", policy=policy)
    promoter = Promoter(stage.bundle, "int8")
    promoter.saw("a", stage.adapters[0], 1000)
    with pytest.raises(UsageError, match=told):
        promoter.promote("a", stage.adapters[0])


def test_a_merged_bundle_has_nothing_to_promote(tmp_path: Path) -> None:
    bundle = Bundle.open(make_bundle(tmp_path / "bundle", Shape()))
    Promoter(bundle).close()
    with pytest.raises(UsageError, match="this bundle is merged"):
        Promoter(bundle, policy="auto")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"policy": "always"}, r'promote must be "never", "auto" or a list of adapters \(got \'always\'\)'),
        ({"budget_mb": -1.0}, r"promote_mb must be at least 0 \(got -1.0\)"),
        ({"budget_mb": float("nan")}, "promote_mb must be at least 0"),
        ({"budget_mb": 0.001, "policy": "auto"}, r"promote_mb = 0\.001: one promoted adapter takes 0\.0 MB; try"),
        ({"budget_mb": 0.001, "policy": ["a"]}, "try promote_mb = 1 or more"),
        ({"variant": "fp16"}, "no variant 'fp16'"),
    ],
)
def test_settings_that_make_no_sense_are_told(stage: Stage, options: dict[str, Any], told: str) -> None:
    with pytest.raises((UsageError, InputError), match=told):
        Promoter(stage.bundle, **options)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("input", r"the graph takes input_ids: .*extra: .*the manifest says input_ids, attention_mask"),
        ("output", "the graph has no output 'pooled'; it has: other"),
        ("weight", "can't load it"),
    ],
)
def test_a_fold_s_graph_that_is_not_the_manifest_s_is_refused(tmp_path: Path, change: str, told: str) -> None:
    path = make_swap_bundle(tmp_path / "bundle")
    model = onnx.load(str(path / "fold.onnx"), load_external_data=False)
    if change == "input":
        model.graph.input.append(onnx.helper.make_tensor_value_info("extra", onnx.TensorProto.INT64, ["batch"]))
    if change == "output":
        model.graph.output[0].name = model.graph.node[-1].output[0] = "other"
    if change == "weight":  # not the shape that folding gives
        next(tensor for tensor in model.graph.initializer if tensor.name == "second.W").dims[:] = [32, 16]
    (path / "fold.onnx").write_bytes(model.SerializeToString())
    reseal(path)
    bundle = Bundle.open(path)
    adapter = read_adapter(path / "adapters" / "alpha", bundle.manifest)
    with pytest.raises(InputError, match=rf"fold\.onnx: .*{told}") as caught:
        PromotedSession(bundle, adapter.sigma, threads=1)
    assert "\n" not in str(caught.value)

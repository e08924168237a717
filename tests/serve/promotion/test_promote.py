"""Which adapters are promoted: the policies, the budget, versions, and what is refused."""

from __future__ import annotations

import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from promote_stage import TEXTS, Stage, names
from tiny_bundle import Shape, make_bundle

import serve.promotion.promote
from serve.bundle import Bundle
from serve.errors import Conflict, InputError, UsageError
from serve.promotion.promote import Promoter
from serve.promotion.promoted import PromotedSession, session_bytes


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

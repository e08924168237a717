"""What measured numbers say to a person."""

from __future__ import annotations

from typing import Any

import pytest

from export.core import DIAGONAL, Core
from pipeline.svf.guidance import costs, guide

SHAPES = [(384, 384)] * 24 + [(1536, 384)] * 6 + [(384, 1536)] * 6  # MiniLM
RANKS = ("8", "96", "288")


def document(kept: dict[str, tuple[float, float, float]], *, flat: bool = False, push: float = 1.0) -> dict[str, Any]:
    """`kept` by group at each of RANKS with the top directions; others keep nothing."""
    row = {"kind": "up", "count": 384, "flat": flat, "rank_for": {"0.9": 250 if flat else 100, "0.99": 300}}
    priced = costs(SHAPES, [384] * 36)
    cuts = [
        {"group": group, "rank": rank, "way": way, "kept": values[i] if way == "top" else 0.0}
        for group, values in kept.items()
        for i, rank in enumerate(RANKS)
        for way in ("top", "bottom", "random")
    ]
    pushes = [
        {"rank": rank, "way": way, "change": push if way == "top" else 1.0}
        for rank in RANKS
        for way in ("top", "bottom", "random")
    ]
    groups = dict.fromkeys(kept, 6)
    outputs = {"groups": groups, "ranks": list(RANKS), "compared": "96", "cuts": cuts, "push": 0.01, "pushes": pushes}
    return {
        "rank": "full",
        "directions": 13824,
        "lora": priced[-1]["values"],
        "layers": [{**row, "random": {"rank_for": {"0.9": 293}}}] * 36,
        "costs": priced,
        "outputs": outputs if kept else None,
    }


def told(found: dict[str, Any]) -> str:
    return " ".join(finding["text"] for finding in found["findings"])


def test_what_fits_a_sixteenth_of_lora_is_counted() -> None:
    rows = {row["core"]: row for row in costs(SHAPES, [64] * 36)}
    assert rows["LoRA r=8"]["values"] == 331776
    assert (rows["diagonal"]["values"], rows["diagonal"]["fits"]) == (36 * 64, 384)
    for name, core in (("banded(1)", Core("banded", 1)), ("dense", Core("dense")), ("diagonal", DIAGONAL)):
        fits = rows[name]["fits"]
        assert rows[name]["values"] == 36 * core.count(64)
        assert 16 * 36 * core.count(fits) <= 331776
        assert fits == 384 or 16 * 36 * core.count(fits + 1) > 331776
    assert (rows["banded(1)"]["fits"], rows["dense"]["fits"]) == (192, 24)


def test_weights_too_small_for_a_core_fit_at_no_rank() -> None:
    assert costs([(2, 2)], [2])[2]["fits"] == 1
    assert costs([(1, 1)], [1])[0]["fits"] == 1


def test_where_the_top_keeps_most_its_rank_is_recommended() -> None:
    found = guide(document({"all": (0.5, 0.97, 1.0), "up": (0.95, 0.98, 1.0)}))
    assert found["assumption"] == "holds"
    assert found["rank"] == 96
    assert "The top 96 directions keep 97%" in found["reason"]
    assert "10,368 values" in found["reason"]  # 36 layers, 288 directions of each left
    assert found["rank_by_kind"] == {"up": 8}


def test_where_no_rank_keeps_enough_full_is_recommended_and_the_assumption_fails() -> None:
    found = guide(document({"all": (0.01, 0.12, 0.79), "up": (0.0, 0.26, 0.82), "query": (0.6, 0.93, 1.0)}, flat=True))
    assert found["assumption"] == "fails"
    assert found["kinds"] == {"up": "fails", "query": "holds"}
    assert found["rank"] == "full"
    assert "even the top 288 keep only 79%" in found["reason"]
    assert "1/24 of LoRA" in found["reason"]
    assert found["rank_by_kind"] == {"up": "full", "query": 96}
    assert "do not hold the information" in told(found)
    assert "36 of 36 spectra are flat" in told(found)


def test_top_directions_that_are_no_better_than_others_count_against_it() -> None:
    found = guide(document({"all": (0.0, 0.03, 0.5)}))
    worse = next(f for f in found["findings"] if "no better than others" in f["text"])
    assert worse["holds"] is False


@pytest.mark.parametrize(("push", "holds", "said"), [(1.5, True, "more"), (0.7, False, "less"), (1.0, None, "as much")])
def test_leverage_is_compared_with_directions_by_lot(push: float, holds: bool | None, said: str) -> None:
    found = guide(document({"all": (0.1, 0.6, 0.9)}, push=push))
    finding = next(f for f in found["findings"] if f["about"] == "push")
    assert finding["holds"] is holds
    assert said in finding["text"].rpartition("At r = 96")[2]
    assert f"{push:.2f} times (r = 8)" in finding["text"]


def test_without_outputs_nothing_is_said_about_the_assumption() -> None:
    found = guide(document({}))
    assert found["assumption"] is None
    assert found["rank"] == "full"
    assert "was not measured" in found["reason"]
    assert "--quick" in told(found)

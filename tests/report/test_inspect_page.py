"""The page of `svfit inspect`."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

from reading import Page

from pipeline.report.inspect_page import SECTIONS, render


def layer(kind: str, block: int, *, flat: bool) -> dict[str, Any]:
    return {
        "name": f"encoder.layer.{block}.{kind}",
        "kind": kind,
        "shape": [8, 4],
        "rank": 2,
        "count": 4,
        "captured": 0.7,
        "effective_rank": 3.2,
        "energy": {"8": 0.5},
        "rank_for": {"0.9": 3, "0.99": 4},
        "random": {"effective_rank": 3.9, "rank_for": {"0.9": 4, "0.99": 4}, "spectrum": [2.0, 1.5, 1.0, 0.5]},
        "flat": flat,
        "index": [0, 1, 2, 3],
        "spectrum": [3.0, 1.0, 0.5, 0.1],
    }


def document() -> dict[str, Any]:
    cuts = [
        {"group": group, "rank": rank, "way": way, "cosine": 0.5, "kept": kept}
        for group in ("all", "query", "<up>")
        for rank, kept in (("1", -0.004), ("2", 0.62))
        for way in ("top", "bottom", "random")
    ]
    pushes = [{"rank": r, "way": w, "change": 0.031} for r in ("1", "2") for w in ("top", "bottom", "random")]
    return {
        "name": "pypi:<some>-model",
        "sha256": "ab" * 32,
        "basis_id": "cd" * 32,
        "pooling": "mean",
        "rank": 2,
        "values": 8,
        "directions": 16,
        "computed": 0,
        "layers": [layer(kind, block, flat=kind == "<up>") for block in (0, 1) for kind in ("query", "<up>")],
        "costs": [
            {"core": "diagonal", "values": 8, "share": 0.02, "fits": 4},
            {"core": "LoRA r=8", "values": 384, "share": 1.0, "fits": None},
        ],
        "outputs": {
            "texts": 24,
            "source": "built-in",
            "groups": {"all": 4, "query": 2, "<up>": 2},
            "ranks": ["1", "2"],
            "compared": "1",
            "between_texts": 0.05,
            "cuts": cuts,
            "push": 0.01,
            "pushes": pushes,
            "seconds": 1.5,
        },
        "guidance": {
            "assumption": "fails",
            "rank": "full",
            "reason": "No rank keeps enough.",
            "rank_by_kind": {"query": 2, "<up>": "full"},
            "findings": [{"about": "energy", "holds": False, "text": "Spectra of <up> are flat."}],
        },
    }


def test_the_page_shows_every_section_and_its_numbers() -> None:
    page = Page(render(document()))
    assert [each["id"] for each in page.all("section")] == [key for key, _, _ in SECTIONS]
    for told in (
        "do not hold the information in this model at r = 1 of 4",
        "2 of 4 spectra flat",
        'adapter.rank = "full"',
        "No rank keeps enough.",
        "Spectra of <up> are flat.",
        "62%",
        "3.1%",
        "r ≤ 4",
        "2.0% of LoRA, r = 8, at rank 2",
        "r = 2 keeps 70.0%",
    ):
        assert told in page.text, told
    assert "−0%" not in page.text
    assert "-0%" not in page.text


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    markup = render(document())
    page = Page(markup)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "embed", "image", "use"}
    assert not re.search(r"https?://|@import|url\(", markup)
    assert any("default-src 'none'" in meta.get("content", "") for meta in page.all("meta"))


def test_every_curve_has_the_random_one_beside_it() -> None:
    markup = render(document())
    assert markup.count('class="line noise"') == markup.count('class="plot spark"') == 4


def test_without_outputs_the_page_says_so() -> None:
    data = document()
    data["outputs"] = None
    data["guidance"] |= {"assumption": None, "rank_by_kind": {}}
    page = Page(render(data))
    assert "The outputs were not measured" in page.text
    assert "outputs" not in [each["id"] for each in page.all("section")]


def test_numbers_that_are_missing_leave_no_trace() -> None:
    whole = document()

    def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
        return [path, *(p for key, each in inner for p in paths(each, (*path, key)))]

    for path in paths(whole)[1:]:
        data = deepcopy(whole)
        target: Any = data
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = None
        assert "None" not in Page(render(data)).text, path

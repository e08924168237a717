from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import report
from reading import Page

from pipeline.report import render
from pipeline.report.page import SECTIONS

ODD = ["<script>alert(1)</script>", "\"quoted\" & 'single'", "מעלית", "</td><td>", "a\u202eb", "\x00\ud800", ""]


def sections(page: Page) -> list[str]:
    return [attributes["id"] for attributes in page.all("section")]


@pytest.fixture(scope="module")
def full() -> Page:
    return Page(render(report()))


def small() -> dict[str, Any]:
    """Two classes, one layer, three steps."""
    data = report(["a", "b"], blocks=1)
    data["training"]["curve"] = data["training"]["curve"][:3]
    data["adapter"]["layers"] = data["adapter"]["layers"][:1]
    return data


def test_a_full_report_shows_every_section_in_order(full: Page) -> None:
    assert sections(full) == [key for key, _, _ in SECTIONS]


@pytest.mark.parametrize(
    "shown",
    [
        "tickets",
        "All 2 gates passed",
        "92.6%",  # test accuracy
        "0.915",  # macro-F1
        "0.905",  # Matthews
        "92.5% in int8, as shipped",
        "23.0 MB",
        "3.9× smaller than fp32",
        "3.12 ms",
        "4.05 ms",
        "13,824",
        "24× fewer than LoRA, r = 8",
        "768× fewer than full fine-tuning",
        "331,776",
        "10,616,832",
        "29,645",
        "2.2×10⁻⁶",
        "0.413",  # parity of int8
        "−0.16 pp to fp32",
        "512 rows/s",
        "keeps in fp32, to hold its gate: encoder.layer.5.output.dense",
        "3 min 17 s",
        "939, 0.21 s each",
        "1.3 GB",
        "found in the cache in 2.31 s",
        "3 (accuracy 92.0%)",
        "9,003",
        "1.2%",  # truncated
        "2 rows of test have texts that are in train too.",
        "17, 332",
        "r = 384 of 384",
        "effective rank 210",
        "9f9f9f9f",
        "torch 2.13.0",
        "22,713,216",
        "93.4%",  # a sample's probability
        '"epochs": 3',
        "2026-11-24 05:39 UTC",
    ],
)
def test_a_number_of_the_report_is_on_the_page(shown: str, full: Page) -> None:
    assert shown in full.text


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    markup = render(report())
    page = Page(markup)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "embed", "image", "use"}
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "style", "xlink:href")]
        assert attributes.get("href", "#").startswith("#")
    assert "url(" not in markup
    assert "@import" not in markup
    assert "//" not in re.sub(r"<pre.*?</pre>", "", markup, flags=re.DOTALL)


def test_the_policy_allows_its_own_style_sheet_and_nothing_else() -> None:
    markup = render(report())
    sheet = re.search(r"<style>(.*?)</style>", markup, re.DOTALL)
    assert sheet is not None
    digest = base64.b64encode(hashlib.sha256(sheet[1].encode()).digest()).decode()
    [policy] = [a["content"] for a in Page(markup).all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.split("; ")[:2] == ["default-src 'none'", f"style-src 'sha256-{digest}'"]


def test_every_link_leads_to_a_section_of_the_page() -> None:
    page = Page(render(report()))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes["href"][1:] for attributes in page.all("a")} <= set(ids)


def test_every_picture_and_table_says_what_it_is() -> None:
    markup = render(report())
    pictures = re.findall(r"<svg([^>]*)>(<title>[^<]+</title><desc>[^<]+</desc>)?", markup)
    assert pictures
    for attributes, told in pictures:
        assert told or 'aria-hidden="true"' in attributes
    assert markup.count("<table") == markup.count("<caption>") > 5


def test_all_colours_used_in_pictures_come_from_the_style_sheet() -> None:
    for tag, attributes in Page(render(report())).tags:
        assert not {"fill", "stroke"} & set(attributes), tag


def test_light_dark_print_and_small_screens_have_rules() -> None:
    markup = render({})
    for rule in ("prefers-color-scheme:dark", "@media print", "max-width:34rem", 'name="viewport"'):
        assert rule in markup


def test_odd_labels_stay_text() -> None:
    data = report([*ODD, "plain"])
    data["samples"] = [{"text": ODD[0], "label": ODD[2], "score": 0.5}]
    data["name"] = ODD[3]
    markup = render(data)
    page = Page(markup)
    assert "<script" not in markup
    assert ODD[0] in page.text
    assert ODD[2] in page.text
    assert page.text.count("</td><td>") > 1
    markup.encode()  # lone surrogates are gone


def test_a_label_keeps_its_writing_direction_to_itself() -> None:
    markup = render(report(["מעלית", "x"]))
    assert markup.count("<bdi>מעלית</bdi>") >= 3


@pytest.mark.parametrize("missing", sorted(report()))
def test_a_missing_part_leaves_the_rest_right(missing: str) -> None:
    data = report()
    del data[missing]
    page = Page(render(data))
    gone = {"gates": "gates", "samples": "samples", "variants": "variants", "training": "training"}
    gone |= {"trainable": "trained", "adapter": "spectrum", "data": "data", "metrics": "quality", "swap": "adapters"}
    assert set(sections(page)) == {key for key, _, _ in SECTIONS} - {gone.get(missing, "")}
    assert "None" not in page.text
    assert "nan" not in page.text


@pytest.mark.parametrize("value", [None, [], {}, "text", 3, float("nan"), True, [None], [[]], {"x": None}])
def test_parts_of_an_unexpected_kind_do_not_break_the_page(value: Any) -> None:
    whole = small()
    for part in whole:
        Page(render({**whole, part: value}))


def test_fields_missing_one_by_one_do_not_break_the_page() -> None:
    whole = small()

    def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
        return [path, *(p for key, each in inner for p in paths(each, (*path, key)))]

    tried = [path for path in paths(whole) if path and path[-1] not in range(1, 64)]
    assert len(tried) > 150
    for path in tried:
        data = deepcopy(whole)
        target: Any = data
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = None
        assert "None" not in Page(render(data)).text, path


def test_an_empty_report_says_that_nothing_is_known() -> None:
    page = Page(render({}))
    assert sections(page) == []
    assert "No gates were run" in page.text
    assert "not measured" in page.text


def test_a_failed_gate_is_named_at_the_top() -> None:
    data = report()
    data["gates"][1]["passed"] = False
    assert "1 of 2 gates failed: int8 drop" in Page(render(data)).text


def test_without_a_test_split_the_headline_names_the_validation_split() -> None:
    data = report()
    del data["metrics"]["test"]
    text = Page(render(data)).text
    assert "Validation accuracy92.6%" in text
    assert "Test accuracy92.6%Macro" not in text


def test_a_regression_shows_correlations_and_the_spread_of_its_numbers() -> None:
    page = Page(render(report([])))
    assert "Test Pearson0.871" in page.text
    assert "Mean squared error" in page.text
    assert "Numbers in train" in page.text
    assert "Confusion" not in page.text
    assert "Value" in page.text


def test_classes_are_sorted_weakest_first() -> None:
    text = Page(render(report(["first", "second", "third"]))).text
    table = text[text.index("weakest F1 first") :]
    assert table.index("third") < table.index("second") < table.index("first", table.index("third"))


def test_two_classes_show_their_counts_in_the_matrix() -> None:
    page = Page(render(report(["yes", "no"])))
    assert "confusion" in {a.get("class") for a in page.all("table")}
    assert "4 of 78 rows on test went to a wrong class." in page.text


def test_many_classes_show_shades_and_the_most_confused_pairs() -> None:
    labels = [f"intent_{i}" for i in range(150)]
    markup = render(report(labels))
    page = Page(markup)
    assert "confusion" not in {a.get("class") for a in page.all("table")}
    assert any(a.get("viewbox") == "0 0 150 150" for a in page.all("svg"))
    assert "Most confused pairs, 10 of 150" in page.text
    assert "All 150 classes" in page.text
    assert all(f">{label.replace('_', '_<wbr>')}<" in markup for label in labels)


@pytest.mark.parametrize(("blocks", "megabytes"), [(6, 0.4), (25, 1.5)])
def test_the_page_stays_small(blocks: int, megabytes: float) -> None:
    assert len(render(report([f"class {i}" for i in range(77)], blocks=blocks)).encode()) < megabytes * 1e6


def test_a_rank_below_full_shades_what_stays_frozen() -> None:
    whole, low = render(report()), render(report(rank=128))
    assert '<rect x="66.7" width="133.3" height="92.0" class="out"/>' in low
    assert 'height="92.0" class="out"' not in whole
    assert "87.3% of the energy" in low


def test_directions_from_anywhere_shade_nothing() -> None:
    data = report(rank=128)
    for row in data["adapter"]["layers"]:
        row["scattered"] = True
    page = render(data)
    assert 'height="92.0" class="out"' not in page
    assert "r = 128 of 384, chosen anywhere" in Page(page).text


def test_core_spread_and_what_was_dropped_stand_among_the_facts() -> None:
    data = report()
    data["adapter"] |= {
        "core": "dense",
        "rank": "auto",
        "values": 20736,
        "chosen": {"budget": 20736, "values": 20736, "layers": 30, "of": 36, "least": 2, "most": 70, "by": "by score"},
        "dropped": {
            "directions": 900,
            "kept": 512,
            "before": {"accuracy": 0.927, "loss": 0.3},
            "after": {"accuracy": 0.926, "loss": 0.31},
        },
    }
    text = Page(render(data)).text
    assert "by moving 20,736 values between singular directions" in text
    assert "30 of 36 layers, 2 … 70 directions a layer, by score" in text
    assert "512 of 900 directions: accuracy 92.7% → 92.6%" in text
    data["adapter"]["chosen"]["layers"] = 36
    assert "36 layers, 2 … 70 directions a layer" in Page(render(data)).text
    assert "by moving 13,824 singular values" in Page(render(report())).text


@pytest.mark.parametrize("value", [None, 3, "x", [], {"layers": "x", "kept": None, "before": 7}])
def test_a_choice_of_an_unexpected_kind_leaves_the_page_whole(value: Any) -> None:
    data = report()
    data["adapter"] |= {"chosen": value, "dropped": value, "core": value}
    assert "Energy captured" in Page(render(data)).text


def test_the_same_report_gives_the_same_page_also_after_json() -> None:
    assert render(report()) == render(json.loads(json.dumps(report())))


def test_numbers_that_are_not_finite_are_shown_as_missing() -> None:
    data = report()
    data["metrics"]["test"]["accuracy"] = math.nan
    data["variants"][0]["latency"]["p50_ms"] = math.inf
    text = Page(render(data)).text
    assert "nan" not in text
    assert "inf" not in text


@settings(deadline=None, max_examples=25)
@given(labels=st.lists(st.text(max_size=30), min_size=2, max_size=30), said=st.text(max_size=60))
def test_any_labels_and_texts_make_a_well_formed_page(full: Page, labels: list[str], said: str) -> None:
    data = {**small(), "labels": labels, "metrics": report(labels, blocks=1)["metrics"]}
    data["samples"] = [{"text": said, "label": labels[0], "score": 0.4}]
    data["config"] = {said: labels}
    data["gates"][0]["detail"] = said
    page = Page(render(data))
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in full.tags} | {"wbr"}


def test_a_swappable_run_shows_each_adapter_alone_and_shared_and_the_price() -> None:
    page = Page(render(report()))
    assert "1.23 times the time of a merged graph (budget 1.25)" in page.text
    assert "<returns>" in page.text
    assert "5,120 singular directions" in page.text

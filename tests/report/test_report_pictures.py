"""Examples that are images: shown in the page itself, and nothing else let through."""

from __future__ import annotations

import base64
from typing import Any

from image_files import noise, saved
from made_up import report
from reading import Page

from pipeline.report import render

PNG = base64.b64encode(saved(noise(4, 4))).decode()


def pictured(**sample: Any) -> dict[str, Any]:
    data = report()
    data["samples"] = [{"text": "a/b.png", "image": PNG, "label": "cat", "score": 0.75, "truth": "cat", **sample}]
    return data


def test_an_image_stands_with_its_answer() -> None:
    html = render(pictured())
    (image,) = Page(html).all("img")
    assert image["src"] == f"data:image/png;base64,{PNG}"
    assert image["alt"] == "a/b.png: cat"
    assert "img-src data:" in html
    assert "✗" not in html


def test_a_wrong_answer_is_told_with_the_truth() -> None:
    html = render(pictured(truth="dog"))
    assert "✗ is" in html
    assert Page(html).all("img")[0]["alt"] == "a/b.png: cat, but it is dog"


def test_what_is_no_base64_is_not_shown_and_texts_allow_no_images() -> None:
    for bad in ('x" onerror="alert(1)', "", 3, None):
        html = render(pictured(image=bad))
        assert not Page(html).all("img")
        assert "img-src" not in html


def test_sizes_stand_in_place_of_tokens() -> None:
    data = pictured()
    sides = {"min": 8, "median": 10.0, "max": 12}
    data["data"]["splits"] = {
        "train": {"rows": 5, "pixels": {"width": sides, "height": sides, "smaller": 2}, "source": "pictures"}
    }
    html = render(data)
    assert "8 × 8" in html
    assert "12 × 12" in html
    assert "Tokens, median" not in html

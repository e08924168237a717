"""Metrics against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.tasks.words import headline
from pipeline.train.metrics import HIGHER_IS_BETTER, detail, score


def votes(*guesses: int, classes: int = 3) -> np.ndarray:
    """Logits whose largest entry is the guess."""
    return np.eye(classes, dtype=np.float32)[list(guesses)]


def test_three_classes_by_hand() -> None:
    # truth 0 0 1 1 2, guess 0 1 1 1 2: right 4 of 5; F1: 0 → 2/3, 1 → 2·(2/3)·1/(2/3+1) = 4/5, 2 → 1
    found = score("text-classification", votes(0, 1, 1, 1, 2), [0, 0, 1, 1, 2])
    assert found["accuracy"] == pytest.approx(4 / 5)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 4 / 5 + 1) / 3)
    # Gorodkin's R_K: (c·s - Σ p·t) / sqrt((s² - Σ p²)(s² - Σ t²)), s = 5, c = 4, t = (2, 2, 1), p = (1, 3, 1)
    assert found["matthews"] == pytest.approx((4 * 5 - 9) / np.sqrt((25 - 11) * (25 - 9)))


def test_two_classes_have_the_matthews_of_the_textbook() -> None:
    found = score("text-classification", votes(1, 1, 0, 0, 1, classes=2), [1, 0, 0, 0, 1])
    tp, tn, fp, fn = 2, 2, 1, 0
    wanted = (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert found["matthews"] == pytest.approx(wanted)


def test_details_name_every_class_also_one_that_never_occurs() -> None:
    found = detail("text-classification", ["a", "b", "c"], votes(0, 1, 1), [0, 0, 1])
    assert found["per_class"] == [
        {"label": "a", "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2},
        {"label": "b", "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1},
        {"label": "c", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0},
    ]
    assert found["confusion"] == [[1, 1, 0], [0, 1, 0], [0, 0, 0]], "confusion[true][predicted]"


def test_one_class_alone_gives_numbers_and_no_warning() -> None:
    found = score("text-classification", votes(1, 1), [1, 1])
    assert found == {"accuracy": 1.0, "macro_f1": 1.0, "matthews": 0.0}


def test_numbers_by_hand() -> None:
    # guess 1 2 4, truth 1 2 3: deviations (-4/3, -1/3, 5/3) and (-1, 0, 1): 3 / sqrt(42/9 · 2)
    found = score("text-regression", np.array([[1], [2], [4]], dtype=np.float32), [1, 2, 3])
    assert found["pearson"] == pytest.approx(3 / np.sqrt(42 / 9 * 2))
    assert found["spearman"] == pytest.approx(1.0)
    assert found["mse"] == pytest.approx(1 / 3)
    assert found["mae"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(("guess", "truth"), [([2, 2, 2], [1, 2, 3]), ([1, 2, 3], [5, 5, 5]), ([1], [1])])
def test_constant_numbers_correlate_with_nothing(guess: list[float], truth: list[float]) -> None:
    found = detail("text-regression", [], np.array(guess, dtype=np.float32)[:, None], truth)
    assert found["pearson"] == found["spearman"] == 0.0
    assert "per_class" not in found


def test_nearly_constant_numbers_give_no_warning() -> None:
    guess = np.array([[1e6], [1e6], [np.nextafter(np.float32(1e6), np.float32(2e6))]], dtype=np.float32)
    assert np.isfinite(score("text-regression", guess, [1, 2, 3])["pearson"])


def test_the_metric_that_decides() -> None:
    assert headline("text-classification") == "accuracy"
    assert headline("text-regression") == "pearson"
    assert headline("text-classification", "macro_f1") == "macro_f1"
    assert HIGHER_IS_BETTER["accuracy"]
    assert not HIGHER_IS_BETTER["loss"]

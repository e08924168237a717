"""Texts that belong together, which a tiny encoder can learn to find, and a finished run on them."""

from __future__ import annotations

import random
from pathlib import Path

from tiny_task import write_csv

GROUPS = (("pump", "leak"), ("fan", "noise"), ("lamp", "dark"), ("door", "cold"), ("valve", "hot"), ("line", "bright"))


def pairs(count: int, seed: int) -> list[tuple[str, str]]:
    """A text of three words, one of them telling, and the word that belongs to that one."""
    rng = random.Random(seed)  # noqa: S311 (rows, not secrets)
    every = [word for group in GROUPS for word in group]
    made = []
    for number in range(count):
        telling, answer = GROUPS[number % len(GROUPS)]
        others = rng.sample([word for word in every if word != answer], 1)
        words = [telling, telling, *others]
        rng.shuffle(words)
        made.append((" ".join(words), answer))
    return made


def scored(count: int, seed: int) -> list[tuple[str, str, str]]:
    """Two texts of two words, and how many words they share, 0 to 2."""
    rng = random.Random(seed)  # noqa: S311
    every = [word for group in GROUPS for word in group]
    made = []
    for number in range(count):
        words = rng.sample(every, 4)
        same = number % 3
        first, second = words[:2], [*words[:same], *words[2 : 4 - same]]
        rng.shuffle(second)
        made.append((" ".join(first), " ".join(second), str(same)))
    return made


def write_pairs(folder: Path, base: Path, name: str = "faq", more: str = "") -> Path:
    """A configuration with train and test rows beside it; the validation split is carved."""
    write_csv(folder / f"{name}-train.csv", ("question", "answer"), pairs(120, 1))
    write_csv(folder / f"{name}-test.csv", ("question", "answer"), pairs(36, 2))
    path = folder / f"{name}.toml"
    path.write_text(
        f'[model]\nbase = "{base}"\nmax_length = 16\ndimensions = [16]\n'
        f'[data]\ntask = "embedding"\ntrain = "{name}-train.csv"\ntest = "{name}-test.csv"\n'
        'text = ["question", "answer"]\nvalidation_share = 0.2\n'
        "[train]\nepochs = 6\nbatch_size = 16\nlearning_rate = 0.05\n"
        f"{more}"
    )
    return path

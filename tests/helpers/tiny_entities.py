"""Texts with entities that a tiny model can learn to find."""

from __future__ import annotations

import random
from pathlib import Path

ENTITIES = {"part": ("pump", "valve", "hot line"), "light": ("lamp", "bright lamp")}
PLAIN = ("fan", "noise", "cold", "door", "leak", "dark")
Words = list[tuple[str, str]]


def sentences(count: int, seed: int, longest: int = 8) -> list[Words]:
    """Words with their tags; about one in three begins an entity, and no two of a kind touch."""
    rng = random.Random(seed)  # noqa: S311 (rows, not secrets)
    made = []
    for _ in range(count):
        words: Words = []
        while len(words) < rng.randint(3, longest):
            if rng.random() < 0.35 and (not words or words[-1][1] == "O"):
                kind = rng.choice(sorted(ENTITIES))
                first, *rest = rng.choice(ENTITIES[kind]).split()
                words += [(first, f"B-{kind}"), *((word, f"I-{kind}") for word in rest)]
            else:
                words.append((rng.choice(PLAIN), "O"))
        made.append(words)
    return made


def conll(rows: list[Words]) -> str:
    return "\n".join("".join(f"{word}\t{tag}\n" for word, tag in row) for row in rows)


def write_entities(folder: Path, base: Path, more: str = "", *, epochs: int = 12) -> Path:
    """A configuration with train and test rows beside it; some texts take several windows."""
    (folder / "train.tsv").write_text(conll(sentences(160, 1) + sentences(20, 2, longest=40)))
    (folder / "test.tsv").write_text(conll(sentences(30, 3) + sentences(10, 4, longest=40)))
    path = folder / "parts.toml"
    path.write_text(
        f'[model]\nbase = "{base}"\nmax_length = 16\n'
        '[data]\ntask = "token-classification"\ntrain = "train.tsv"\ntest = "test.tsv"\nvalidation_share = 0.2\n'
        f"[train]\nepochs = {epochs}\nbatch_size = 16\nlearning_rate = 0.05\nhead_learning_rate = 0.05\n{more}"
    )
    return path

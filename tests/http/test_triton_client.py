"""A client that we did not write, tritonclient, over HTTP and gRPC, against `svfit serve` in a process of its own."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from server_process import Address, serving
from tiny_swap import make_adapter, make_swap_bundle
from tritonclient.utils import InferenceServerException

from serve.runtime import Runtime

TEXTS = ["pump leak", "lamp dark", "the fan is hot and loud"]
ADMIN = "admin-key-of-this-test"
KEYS = {"authorization": f"Bearer {ADMIN}"}
MISSING = {"http": "404", "grpc": "StatusCode.NOT_FOUND"}
REFUSED = {"http": "400", "grpc": "StatusCode.INVALID_ARGUMENT"}


@dataclass(frozen=True)
class Client:
    """tritonclient's one or the other module, its client, and what the bundle answers."""

    kind: str
    module: ModuleType
    client: Any
    runtime: Runtime

    def infer(self, model: str = "tiny", *texts: str, **options: Any) -> Any:
        """Ask for texts, or for the `inputs` given."""
        inputs = options.pop("inputs", None) or [self.tensor("text", list(texts or TEXTS))]
        return self.client.infer(model, inputs, **options)

    def tensor(self, name: str, values: Any, binary: bool = True) -> Any:
        array = np.array(values, dtype=np.object_)
        made = self.module.InferInput(name, list(array.shape), "BYTES")
        if self.kind == "http":
            return made.set_data_from_numpy(array, binary_data=binary)
        return made.set_data_from_numpy(array)

    def output(self, name: str, binary: bool = True) -> Any:
        if self.kind == "http":
            return self.module.InferRequestedOutput(name, binary_data=binary)
        return self.module.InferRequestedOutput(name)

    def load(self, name: str, folder: Path | None = None) -> None:
        if folder is None:
            self.client.load_model(name, headers=KEYS)
            return
        files = {f"file:{path.name}": path.read_bytes() for path in folder.iterdir()}
        self.client.load_model(name, headers=KEYS, config="{}", files=files)

    def index(self) -> set[tuple[str, str, str]]:
        found = self.client.get_model_repository_index(**({"as_json": True} if self.kind == "grpc" else {}))
        models = found["models"] if self.kind == "grpc" else found
        return {(model["name"], model["version"], model["state"]) for model in models}

    def metadata(self, model: str, version: str = "") -> dict[str, Any]:
        options = {"as_json": True} if self.kind == "grpc" else {}
        return dict(self.client.get_model_metadata(model, version, **options))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    adapters = (("alpha", 1), ("beta", 2), ("spare", 3))
    return make_swap_bundle(tmp_path_factory.mktemp("triton") / "bundle", adapters)


@pytest.fixture(scope="module")
def server(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    state = str(tmp_path_factory.mktemp("state"))
    environment = {"SVFIT_ADMIN_KEY": ADMIN}
    with serving(bundle, "--grpc-port", "0", "--state", state, environment=environment) as address:
        yield address


@pytest.fixture(scope="module")
def runtime(bundle: Path) -> Iterator[Runtime]:
    with Runtime(bundle) as runtime:
        yield runtime


@pytest.fixture(scope="module", params=["http", "grpc"])
def triton(request: pytest.FixtureRequest, server: Address, runtime: Runtime) -> Iterator[Client]:
    module = getattr(tritonclient, request.param)
    client = module.InferenceServerClient(server.http if request.param == "http" else server.grpc)
    yield Client(request.param, module, client, runtime)
    client.close()


def words(array: Any) -> list[str]:
    return [item.decode() if isinstance(item, bytes) else str(item) for item in array.ravel()]


def test_the_server_is_live_and_ready_and_tells_of_itself(triton: Client) -> None:
    assert triton.client.is_server_live()
    assert triton.client.is_server_ready()
    options = {"as_json": True} if triton.kind == "grpc" else {}
    metadata = triton.client.get_server_metadata(**options)
    assert metadata["name"] == "svfit"
    assert {"binary_tensor_data", "model_repository"} <= set(metadata["extensions"])


def test_models_are_ready_by_name_and_version(triton: Client) -> None:
    ready = triton.client.is_model_ready
    asked = [("tiny", ""), ("tiny", "1"), ("alpha", ""), ("beta", "1"), ("nothing", ""), ("beta", "9"), ("beta", "x")]
    assert [ready(name, version) for name, version in asked] == [True] * 4 + [False] * 3


def test_metadata_names_inputs_and_outputs(triton: Client) -> None:
    bundle, beta = triton.metadata("tiny"), triton.metadata("beta", "1")
    assert [tensor["name"] for tensor in bundle["inputs"]] == ["text", "adapter"]
    assert [tensor["name"] for tensor in beta["outputs"]] == ["label", "score", "probabilities", "adapter", "labels"]
    shapes = {tensor["name"]: [int(size) for size in tensor["shape"]] for tensor in beta["outputs"]}
    assert (beta["versions"], shapes["label"], shapes["probabilities"]) == (["1"], [-1], [-1, 3])


def test_answers_are_those_of_the_runtime(triton: Client) -> None:
    result = triton.infer("tiny", request_id="42")
    expected = triton.runtime.predict(TEXTS)
    assert words(result.as_numpy("label")) == [answer.label for answer in expected]
    assert words(result.as_numpy("adapter")) == ["alpha@1"] * 3
    np.testing.assert_allclose(result.as_numpy("score"), [answer.score for answer in expected], atol=1e-5)
    shares = [list((answer.probabilities or {}).values()) for answer in expected]
    np.testing.assert_allclose(result.as_numpy("probabilities"), shares, atol=1e-5)
    response = result.get_response(**({"as_json": True} if triton.kind == "grpc" else {}))
    assert (response["id"], response["model_name"], response["model_version"]) == ("42", "tiny", "1")


def test_a_parameter_names_the_adapter(triton: Client) -> None:
    result = triton.infer("tiny", parameters={"adapter": "beta"})
    assert words(result.as_numpy("adapter")) == ["beta@1"] * 3
    expected = triton.runtime.predict(TEXTS, "beta")
    np.testing.assert_allclose(result.as_numpy("score"), [answer.score for answer in expected], atol=1e-5)


def test_an_adapter_is_a_model_of_its_own_name_and_version(triton: Client) -> None:
    for version in ("", "1"):
        result = triton.infer("beta", model_version=version)
        assert words(result.as_numpy("adapter")) == ["beta@1"] * 3


def test_every_row_may_have_its_own_adapter(triton: Client) -> None:
    names = ["beta", "alpha@1", ""]
    result = triton.infer(inputs=[triton.tensor("text", TEXTS), triton.tensor("adapter", names)])
    expected = triton.runtime.predict(TEXTS, ["beta", "alpha", "alpha"])
    assert words(result.as_numpy("adapter")) == ["beta@1", "alpha@1", "alpha@1"]
    np.testing.assert_allclose(result.as_numpy("score"), [answer.score for answer in expected], atol=1e-5)


def test_requested_outputs_come_alone(triton: Client) -> None:
    wanted = [triton.output("labels", binary=False), triton.output("score")]
    result = triton.infer(outputs=wanted)
    assert words(result.as_numpy("labels")) == ["hvac", "plumbing", "other"]
    assert result.as_numpy("score").shape == (3,)
    assert result.as_numpy("label") is None


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
@pytest.mark.parametrize("binary", [True, False])
def test_texts_are_a_row_or_a_column_as_bytes_or_json(triton: Client, binary: bool, shape: tuple[int, ...]) -> None:
    texts = triton.tensor("text", np.array(TEXTS, dtype=np.object_).reshape(shape), binary)
    outputs = [triton.output("label", binary), triton.output("score", not binary)]
    result = triton.infer(inputs=[texts], outputs=outputs)
    expected = triton.runtime.predict(TEXTS)
    assert words(result.as_numpy("label")) == [answer.label for answer in expected]
    np.testing.assert_allclose(result.as_numpy("score"), [answer.score for answer in expected], atol=1e-5)


def test_what_is_not_there_and_what_makes_no_sense_is_told(triton: Client) -> None:
    pairs = triton.tensor("text", [["a", "b"]])
    for statuses, words_of, ask in (
        (MISSING, "nothing", lambda: triton.infer("nothing")),
        (MISSING, "nothing", lambda: triton.infer("tiny", parameters={"adapter": "nothing"})),
        (MISSING, "no version '2'", lambda: triton.infer("tiny", model_version="2")),
        (REFUSED, "logits", lambda: triton.infer(outputs=[triton.output("logits")])),
        (REFUSED, "one text a row", lambda: triton.infer(inputs=[pairs])),
        (REFUSED, "sequence_end", lambda: triton.infer(sequence_id=4, sequence_start=True)),
    ):
        with pytest.raises(InferenceServerException) as caught:
            ask()
        assert words_of in str(caught.value.message()), words_of
        assert caught.value.status() == statuses[triton.kind], words_of


def test_an_adapter_comes_changes_and_goes(triton: Client, tmp_path: Path) -> None:
    name = f"colours-{triton.kind}"
    colours = make_adapter(tmp_path / name, seed=5, labels=("red", "green"))
    triton.load(name, colours)
    assert words(triton.infer(name).as_numpy("adapter")) == [f"{name}@1"] * 3
    mixed = triton.infer(inputs=[triton.tensor("text", TEXTS), triton.tensor("adapter", ["alpha", name, "beta"])])
    assert mixed.as_numpy("probabilities") is None
    assert words(mixed.as_numpy("adapter")) == ["alpha@1", f"{name}@1", "beta@1"]
    triton.load(name, make_adapter(tmp_path / "again", seed=6, labels=()))
    valued = triton.infer(name)
    assert valued.as_numpy("value").tolist() == valued.as_numpy("score").tolist()
    assert words(triton.infer(name, model_version="1").as_numpy("adapter")) == [f"{name}@1"] * 3
    assert {(name, "1", "READY"), (name, "2", "READY"), ("tiny", "1", "READY")} <= triton.index()
    triton.client.unload_model(name, headers=KEYS)
    assert not triton.client.is_model_ready(name)
    assert name not in {found for found, _, _ in triton.index()}
    with pytest.raises(InferenceServerException, match=r"load it with file:adapter\.json"):
        triton.load(name)


def test_one_of_the_bundles_own_adapters_comes_back_by_its_name(triton: Client) -> None:
    triton.client.unload_model("spare", headers=KEYS)
    assert not triton.client.is_model_ready("spare")
    triton.load("spare")
    np.testing.assert_allclose(
        triton.infer("spare").as_numpy("score"),
        [answer.score for answer in triton.runtime.predict(TEXTS, "spare")],
        atol=1e-5,
    )


def test_changes_need_the_admin_key(triton: Client) -> None:
    with pytest.raises(InferenceServerException) as caught:
        triton.client.unload_model("alpha")
    assert caught.value.status() in ("401", "StatusCode.UNAUTHENTICATED")
    assert triton.client.is_model_ready("alpha")


def test_an_adapter_on_another_basis_is_refused_and_both_are_named(triton: Client, tmp_path: Path) -> None:
    with pytest.raises(InferenceServerException) as caught:
        triton.load("foreign", make_adapter(tmp_path / "foreign", basis_id="c" * 64))
    assert "c" * 12 in caught.value.message()
    assert "b" * 12 in caught.value.message()
    assert not triton.client.is_model_ready("foreign")


def test_the_metrics_count_calls_of_both_protocols(triton: Client, server: Address) -> None:
    assert triton.client.is_server_live()
    with urllib.request.urlopen(f"http://{server.http}/metrics", timeout=10) as reply:
        told = reply.read().decode()
    method = "GRPC" if triton.kind == "grpc" else "GET"
    assert re.search(rf'svfit_requests_total{{method="{method}",route="[^"]*[Ll]ive"', told)

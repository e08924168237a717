"""Every promised architecture, cut and injected: one graph that answers as each merged model would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from architecture_cases import CASES, CLASSES, Case
from exported_bert import Exported
from swap_models import Swappable, make_plans, open_graph, run_graph

from export.graph import export_onnx
from export.int8 import write_int8
from export.parity import Batch

# Both sides add the same products in another order, on float32 logits of size about 1: 1e-7 of the largest sum a
# layer, 1e-6 at worst here. A wrong direction, row or mask moves 1e-3 and more, as the tests assert.
LIMIT = 1e-5
MOVED = 100 * LIMIT
INT8 = 0.05  # of the logits' range, as for merged graphs (test_architectures.py)

QUICK = ("BERT", "GPT-2")  # an encoder, and a decoder with Conv1D whose head looks up the last token
PARAMETERS = [pytest.param(case, id=case.name, marks=() if case.name in QUICK else pytest.mark.real) for case in CASES]


@pytest.fixture(scope="module", params=PARAMETERS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Swappable:
    case: Case = request.param
    folder = tmp_path_factory.mktemp("swap")
    if case.name == "BERT":
        bert: Exported = request.getfixturevalue("bert")
        return Swappable.make(case, bert.model, onnx.load(bert.path), folder)
    model = case.build()
    sample = {name: torch.ones(2, 7, dtype=torch.int64) for name in case.inputs}
    export_onnx(model, sample, folder / "base.onnx", {})
    return Swappable.make(case, model, onnx.load(folder / "base.onnx"), folder)


def said(batch: Batch) -> str:
    return f"{batch.feeds['input_ids'].shape}{' padded' if batch.padded else ''}"


def close(got: np.ndarray, wanted: np.ndarray, batch: Batch) -> None:
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() <= LIMIT, said(batch)


def test_a_fed_sigma_answers_as_the_merged_model(made: Swappable) -> None:
    head = made.head_weights(1, CLASSES)
    for batch in made.batches():
        sigma = made.sigma(1)
        wanted = made.expected(batch.feeds, sigma, head)
        assert 0.1 < np.abs(wanted).max() < 20  # the size that LIMIT speaks of
        close(made.answer(batch.feeds, sigma, head), wanted, batch)
        assert np.abs(wanted - made.expected(batch.feeds, None, head)).max() > MOVED, said(batch)


def test_nothing_fed_answers_as_the_base_model(made: Swappable) -> None:
    for batch in made.batches():
        with torch.no_grad():
            wanted = made.model(**{name: torch.from_numpy(value) for name, value in batch.feeds.items()}).logits.numpy()
        close(made.answer(batch.feeds, None, made.own_head()), wanted, batch)
        zeros = np.zeros((1, made.files.width), dtype=np.float32)
        np.testing.assert_array_equal(
            made.answer(batch.feeds, zeros, made.own_head()), made.answer(batch.feeds, None, made.own_head())
        )


def test_rows_with_a_sigma_each_answer_as_each_alone(made: Swappable) -> None:
    head = made.head_weights(2, CLASSES)
    for batch in made.batches():
        rows = len(batch.feeds["input_ids"])
        sigmas = [made.sigma(seed) for seed in range(rows)]
        mixed = made.answer(batch.feeds, np.concatenate(sigmas), head)
        for row, sigma in enumerate(sigmas):
            alone = {name: value[row : row + 1] for name, value in batch.feeds.items()}
            close(mixed[row : row + 1], made.answer(alone, sigma, head), batch)
            close(mixed[row : row + 1], made.expected(batch.feeds, sigma, head)[row : row + 1], batch)
            if row:  # an adapter in its neighbour's place would show
                other = made.answer(alone, sigmas[row - 1], head)
                assert np.abs(other - mixed[row]).max() > MOVED, said(batch)


def test_one_sigma_for_the_batch_is_that_sigma_for_each_row(made: Swappable) -> None:
    head, sigma = made.head_weights(3, CLASSES), made.sigma(3)
    for batch in made.batches():
        repeated = np.repeat(sigma, len(batch.feeds["input_ids"]), axis=0)
        close(made.answer(batch.feeds, repeated, head), made.answer(batch.feeds, sigma, head), batch)


def test_the_fold_with_its_weights_handed_in_answers_as_the_fed_graph(made: Swappable) -> None:
    head, sigma = made.head_weights(4, CLASSES), made.sigma(4)
    folded = made.folded(sigma)
    assert "sigma" not in [entry.name for entry in folded.get_inputs()]
    for batch in made.batches():
        close(made.answer(batch.feeds, None, head, folded), made.answer(batch.feeds, sigma, head), batch)


def test_a_head_answers_any_number_of_classes(made: Swappable) -> None:
    batch = made.batches()[-1]
    for classes in (1, CLASSES + 1):
        head = made.head_weights(5, classes)
        got = made.answer(batch.feeds, made.sigma(5), head)
        assert got.shape[1] == classes
        close(got, made.expected(batch.feeds, made.sigma(5), head), batch)


def test_a_head_answers_some_of_the_rows(made: Swappable) -> None:
    head, sigma = made.head_weights(6, CLASSES), made.sigma(6)
    for batch in made.batches():
        taken = made.features(batch.feeds, sigma)
        some = run_graph(made.head, {**{name: value[::2] for name, value in taken.items()}, **head})
        close(some[made.files.head.output], made.expected(batch.feeds, sigma, head)[::2], batch)


def test_onnxruntime_applies_its_own_adapter_file_bit_for_bit(made: Swappable, tmp_path: Path) -> None:
    head = made.head_weights(7, CLASSES)
    for batch in made.batches():
        rows = len(batch.feeds["input_ids"])
        for sigma in (made.sigma(7), np.concatenate([made.sigma(seed) for seed in range(rows)])):
            features = run_native(made.backbone, batch.feeds, {"sigma": sigma}, tmp_path / "sigma.onnx_adapter")
            fed = run_graph(made.backbone, {**batch.feeds, "sigma": sigma})
            for name in fed:
                np.testing.assert_array_equal(features[name], fed[name], strict=True)
            taken = made.features(batch.feeds, sigma)
            logits = run_native(made.head, taken, head, tmp_path / "head.onnx_adapter")[made.files.head.output]
            np.testing.assert_array_equal(logits, made.answer(batch.feeds, sigma, head), strict=True)
            assert np.abs(logits - made.answer(batch.feeds, None, head)).max() > MOVED


def run_native(
    session: onnxruntime.InferenceSession, feeds: dict[str, np.ndarray], values: dict[str, np.ndarray], path: Path
) -> dict[str, np.ndarray]:
    """A run whose `values` come from onnxruntime's own adapter file, written to `path`."""
    written = onnxruntime.AdapterFormat()
    written.set_adapter_version(1)
    written.set_model_version(1)
    written.set_parameters({k: onnxruntime.OrtValue.ortvalue_from_numpy(value) for k, value in values.items()})
    written.export_adapter(str(path))
    adapter = onnxruntime.LoraAdapter()
    adapter.Load(str(path))
    options = onnxruntime.RunOptions()
    options.add_active_adapter(adapter)  # options don't keep it alive: it has to outlive the run
    return run_graph(session, feeds, options)


def test_int8_keeps_sigma_and_quantizes_the_factors(made: Swappable, tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    write_int8(onnx.load(made.folder / "model.onnx"), path)
    quantized = {entry.name for entry in onnx.load(path).graph.initializer if entry.data_type == onnx.TensorProto.INT8}
    session = open_graph(path)
    assert {entry.name: entry.shape for entry in session.get_overridable_initializers()} == {
        entry.name: entry.shape for entry in made.backbone.get_overridable_initializers()
    }
    for layer in made.files.layers:
        if layer.kept:
            assert {f"{layer.down}_quantized", f"{layer.up}_quantized"} <= quantized
    head, sigma = made.head_weights(8, CLASSES), made.sigma(8)
    batches = made.batches()
    wanted = np.concatenate([made.answer(batch.feeds, sigma, head) for batch in batches])
    got = np.concatenate([made.answer(batch.feeds, sigma, head, session) for batch in batches])
    base = np.concatenate([made.answer(batch.feeds, None, head, session) for batch in batches])
    off = np.abs(got - wanted).max()
    assert off <= INT8 * np.ptp(wanted)
    assert np.abs(got - base).max() > 2 * off  # what the adapter says outweighs the rounding


def test_the_layers_carry_every_form(made: Swappable) -> None:
    forms = [layer.form for layer in made.files.layers]
    assert set(forms) == {"bypass", "factored", "untouched"}
    assert {layer.name for layer in made.files.layers} == set(make_plans(made.model))
    assert made.files.width == sum(len(layer.kept) for layer in made.files.layers)

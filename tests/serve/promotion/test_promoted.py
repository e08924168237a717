"""A session of one adapter: the same answers, nothing shared, and only from graphs that fit the manifest."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import onnx
import pytest
from promote_stage import TEXTS, Stage, names
from tiny_bundle import reseal
from tiny_swap import make_swap_bundle

from serve.adapters.adapter import read_adapter
from serve.bundle import Bundle
from serve.errors import InputError
from serve.promotion.promoted import PromotedSession, session_bytes
from serve.settings import SINGLE


def test_a_promoted_adapter_answers_as_the_swappable_graph_and_as_numpy(stage: Stage) -> None:
    promoter = stage.promoter()
    for seed, adapter in enumerate(stage.adapters):
        promoter.promote(f"a{seed}", adapter)
    assert names(promoter) == [f"a{seed}" for seed in range(6)]
    for seed, adapter in enumerate(stage.adapters):
        promoted = np.stack(stage.engine.run(stage.tokens, [adapter] * 4, promoter.session_for(adapter)))
        shared = np.stack(stage.engine.run(stage.tokens, [adapter] * 4))
        np.testing.assert_allclose(promoted, shared, atol=1e-4)
        np.testing.assert_allclose(promoted, stage.expected(seed), atol=1e-4)


def test_sessions_share_nothing_with_what_they_were_built_from(stage: Stage) -> None:
    sigma = stage.adapters[1].sigma.copy()
    session = PromotedSession(stage.bundle, sigma, SINGLE)
    feeds = stage.tokenizer(TEXTS)
    before = session.run(feeds)["pooled"]
    sigma[:] = 7
    PromotedSession(stage.bundle, stage.adapters[2].sigma, SINGLE)
    gc.collect()  # the folded arrays are gone
    np.testing.assert_array_equal(session.run(feeds)["pooled"], before)


def test_a_session_is_counted_with_its_graph_and_keeps_no_working_memory(stage: Stage) -> None:
    graph = (stage.bundle.path / "fold.onnx").stat().st_size
    assert session_bytes(stage.bundle) == 4 * (16 * 16 + 16 * 32) + graph
    session = PromotedSession(stage.bundle, stage.adapters[0].sigma, SINGLE)
    assert not session._session.get_session_options().enable_cpu_mem_arena


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("input", r"the graph takes input_ids: .*extra: .*the manifest says input_ids: .*attention_mask: "),
        ("output", "the graph has no output 'pooled'; it has: other"),
        ("weight", "can't load it"),
    ],
)
def test_a_fold_s_graph_that_is_not_the_manifest_s_is_refused(tmp_path: Path, change: str, told: str) -> None:
    path = make_swap_bundle(tmp_path / "bundle")
    model = onnx.load(str(path / "fold.onnx"), load_external_data=False)
    if change == "input":
        model.graph.input.append(onnx.helper.make_tensor_value_info("extra", onnx.TensorProto.INT64, ["batch"]))
    if change == "output":
        model.graph.output[0].name = model.graph.node[-1].output[0] = "other"
    if change == "weight":  # not the shape that folding gives
        next(tensor for tensor in model.graph.initializer if tensor.name == "second.W").dims[:] = [32, 16]
    (path / "fold.onnx").write_bytes(model.SerializeToString())
    reseal(path)
    bundle = Bundle.open(path)
    adapter = read_adapter(path / "adapters" / "alpha", bundle.manifest)
    with pytest.raises(InputError, match=rf"fold\.onnx: .*{told}") as caught:
        PromotedSession(bundle, adapter.sigma, SINGLE)
    assert "\n" not in str(caught.value)


def test_an_array_in_another_one_s_place_in_memory_is_not_taken_for_it(stage: Stage) -> None:
    promoter = stage.promoter(["a"])
    promoter.saw("a", stage.adapters[0], 1)
    assert names(promoter) == ["a"]
    promoter._table = {id(stage.adapters[1].sigma): promoter._table[id(stage.adapters[0].sigma)]}
    assert promoter.session_for(stage.adapters[1]) is None

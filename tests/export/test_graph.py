from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import onnx
import pytest
import torch
from architecture_cases import CASES
from exported_bert import Exported

from export import graph as graph_module
from export.graph import export_onnx
from export.int8 import write_int8
from export.parity import check_parity, gate_parity
from export.quiet import quiet
from serve.errors import InputError

SAMPLE = {name: torch.ones(2, 3, dtype=torch.int64) * 2 for name in ("input_ids", "attention_mask")}

AGAIN = """
import hashlib, sys, torch
from pathlib import Path
sys.path[:0] = [{tests!r}, {root!r}]
from architecture_cases import CASES
from export.graph import export_onnx
sample = {{name: torch.full((1, 1), 3) for name in CASES[0].inputs}}
sample["attention_mask"] = torch.ones(1, 1, dtype=torch.int64)
sample["token_type_ids"] = torch.zeros(1, 1, dtype=torch.int64)
path = Path({path!r})
export_onnx(CASES[0].build(), sample, path, {{"labels": '["a", "b", "c"]', "task": "text-classification"}})
"""


def test_batch_and_sequence_are_free_and_logits_the_only_output(bert: Exported) -> None:
    graph = onnx.load(bert.path).graph
    assert {entry.name for entry in graph.input} == set(CASES[0].inputs)
    for entry in graph.input:
        assert entry.type.tensor_type.elem_type == onnx.TensorProto.INT64
        assert [dim.dim_param for dim in entry.type.tensor_type.shape.dim] == ["batch", "sequence"]
    assert [entry.name for entry in graph.output] == ["logits"]
    batch, width = graph.output[0].type.tensor_type.shape.dim
    assert (batch.dim_param, width.dim_value) == ("batch", 3)


def test_the_file_says_what_it_is(bert: Exported) -> None:
    properties = {entry.key: entry.value for entry in onnx.load(bert.path).metadata_props}
    assert properties == {"task": "text-classification", "labels": '["a", "b", "c"]'}
    assert bert.info.bytes == bert.path.stat().st_size
    assert bert.info.output == "logits"
    assert onnx.load(bert.path).opset_import[0].version == bert.info.opset


def test_layers_are_named_after_their_modules(bert: Exported) -> None:
    names = [node.name for node in onnx.load(bert.path).graph.node]
    for name in ("bert.encoder.layer.1.attention.self.query", "bert.embeddings.word_embeddings", "classifier"):
        assert names.count(name) == 1


def test_another_process_with_another_hash_seed_writes_the_same_bytes(bert: Exported, tmp_path: Path) -> None:
    path = tmp_path / "elsewhere" / "model.onnx"
    root = Path(__file__).parents[2]
    code = AGAIN.format(tests=str(Path(__file__).parent), root=str(root), path=str(path))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONHASHSEED": "77"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("", "")  # and says nothing to the person
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (path, bert.path)]
    assert digests[0] == digests[1]


def test_no_path_of_this_machine_is_in_the_file(bert: Exported) -> None:
    data = bert.path.read_bytes()
    for trace in (b"site-packages", b"modeling_bert", str(Path.home()).encode() + b"/", b"Traceback"):
        assert trace not in data


def test_quiet_hides_notices_and_restores_everything(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    root = logging.getLogger()
    before = (list(root.handlers), root.manager.disable, sys.stdout)
    with quiet():
        print("progress")  # noqa: T201
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        logging.warning("versions")
    assert (list(root.handlers), root.manager.disable, sys.stdout) == before
    assert capsys.readouterr().out == ""
    assert not caplog.records
    with pytest.raises(DeprecationWarning):
        warnings.warn("old", DeprecationWarning, stacklevel=1)


def test_what_cannot_be_exported_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(InputError, match="training mode"):
        export_onnx(CASES[0].build().train(), SAMPLE, path, {})
    with pytest.raises(InputError, match=r"torch\.float16.*float32"):
        export_onnx(CASES[0].build().half(), SAMPLE, path, {})
    with pytest.raises(InputError, match="no input_ids"):
        export_onnx(CASES[0].build(), {"attention_mask": SAMPLE["attention_mask"]}, path, {})
    with pytest.raises(InputError, match="must be int64"):
        export_onnx(CASES[0].build(), {"input_ids": torch.ones(2, 3)}, path, {})
    pair = CASES[0].build()
    pair.config.is_encoder_decoder = True
    with pytest.raises(InputError, match="BertForSequenceClassification: encoder-decoder"):
        export_onnx(pair, SAMPLE, path, {})
    decoder = next(case for case in CASES if case.name == "GPT-2").build()
    decoder.config.pad_token_id = None
    with pytest.raises(InputError, match=r"GPT2ForSequenceClassification: fails on the sample batch: .*padding token"):
        export_onnx(decoder, SAMPLE, path, {})
    assert not path.exists()


def test_a_model_of_tokens_keeps_its_sequence(tmp_path: Path) -> None:
    from transformers import BertForTokenClassification

    model = BertForTokenClassification(CASES[0].build().config).eval()
    export_onnx(model, SAMPLE, tmp_path / "model.onnx", {})
    (output,) = onnx.load(str(tmp_path / "model.onnx")).graph.output
    dims = [dim.dim_param or dim.dim_value for dim in output.type.tensor_type.shape.dim]
    assert dims == ["batch", "sequence", model.config.num_labels]


def test_weights_too_large_for_the_file_lie_beside_it(
    bert: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_module, "EMBED_LIMIT", 1000)
    path = tmp_path / "model.onnx"
    sample = {name: torch.from_numpy(value) for name, value in bert.batches[-1].feeds.items()}
    info = export_onnx(bert.model, sample, path, {})
    beside = tmp_path / "model.onnx.data"
    assert info.bytes == path.stat().st_size + beside.stat().st_size
    assert beside.stat().st_size > path.stat().st_size
    gate_parity(check_parity(bert.model, path, bert.batches))
    assert write_int8(onnx.load(path), tmp_path / "int8.onnx") < info.bytes

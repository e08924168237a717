"""The protocol's tensors: texts in from JSON, messages and raw bytes; texts and numbers out."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from serve.errors import InputError
from serve.oip.tensors import OutputTensor, check_parameters, from_elements, from_json, from_raw


@pytest.mark.parametrize("data", [["a", "b", "c", "d"], [["a", "b"], ["c", "d"]]])
def test_json_tensors_are_flat_or_nested(data: Any) -> None:
    assert from_json("text", "BYTES", [2, 2], data).values == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("shape", "data", "message"),
    [
        ([2], "ab", "must be a list of texts"),
        ([2], ["a"], "1 elements for the shape"),
        ([2], ["a", 4], "element 2 must be text .got a number"),
        ([2, 2], [["a", "b"], ["c"]], "not nested as its shape"),
        ([2, 2], [["a", "b"], "c"], "not nested as its shape"),
        ([2, 2], [["a", ["b"]], ["c", "d"]], "element 2 must be text .got a list"),
        ([2.0], ["a", "b"], "shape must be one or two sizes"),
        ([True], ["a"], "shape must be one or two sizes"),
        ([-1], ["a"], "shape must be one or two sizes"),
        ([], ["a"], "shape must be one or two sizes"),
        ([1, 1, 1], ["a"], "shape must be one or two sizes"),
    ],
)
def test_json_tensors_that_contradict_themselves(shape: Any, data: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_json("text", "BYTES", shape, data)


def packed(*values: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def test_raw_tensors_hold_each_text_after_its_length() -> None:
    assert from_raw("text", "BYTES", [2], packed("né".encode(), b"")).values == ("né", "")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (packed(b"a", b"b")[:-1], "end inside of element 2"),
        (packed(b"a") + b"\1\0", "end inside of element 2"),
        (b"\xff\xff\xff\xffab", "end inside of element 1"),
        (packed(b"a"), "1 elements for the shape"),
        (packed(b"a", b"\xff"), "element 2 is not UTF-8"),
    ],
)
def test_raw_tensors_that_end_too_soon_or_are_no_text(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_raw("text", "BYTES", [2], data)


def test_only_bytes_tensors_are_taken() -> None:
    with pytest.raises(InputError, match=r"datatype must be BYTES .got 'FP32'"):
        from_elements("text", "FP32", [1], [b"a"])


def test_outputs_go_out_little_endian_and_texts_with_their_lengths() -> None:
    numbers = OutputTensor("score", "FP32", (2,), np.array([0.5, 2], dtype=np.float32))
    assert numbers.raw() == struct.pack("<2f", 0.5, 2)
    assert OutputTensor("label", "BYTES", (2,), ["é", ""]).raw() == packed("é".encode(), b"")


@pytest.mark.parametrize("parameter", ["classification", "shared_memory_region"])
def test_extensions_that_are_not_there_are_refused_and_hints_are_not(parameter: str) -> None:
    check_parameters("output", "label", ["binary_data", "content_type"])
    with pytest.raises(InputError, match=f'output "label": {parameter} is an extension'):
        check_parameters("output", "label", [parameter])

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from serve.errors import InputError
from serve.tensors import MAX_HEADER_BYTES, read_bounded, read_tensors

LIMIT = 10_000
VALUES = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(0, dtype=np.float32), "c": np.float32([1.5])}
GOOD = save({name: np.asarray(value) for name, value in VALUES.items()})
FINE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def packed(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize("as_file", [True, False])
def test_reads_what_safetensors_wrote(tmp_path: Path, as_file: bool) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(GOOD)
    found = read_tensors(path if as_file else GOOD, LIMIT)
    assert found.keys() == VALUES.keys()
    for name, value in VALUES.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].dtype == np.float32
        assert not found[name].flags.writeable


def test_metadata_is_passed_over() -> None:
    assert read_tensors(save({"a": VALUES["a"]}, {"made": "here"}), LIMIT).keys() == {"a"}


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "cut short"),
        (b"\x01\0\0", "cut short"),
        (GOOD[:-1], "offsets reach beyond"),
        (GOOD + b"\0", "its tensors fill"),
        ((2**63).to_bytes(8, "little") + b"{}", "cut short"),
        (packed(b"nonsense"), "not valid JSON"),
        (packed(b'{"a": NaN}'), "nothing else"),
        (packed(b"[" * 100_000), "not valid JSON"),
        (packed(b"\xff\xfe"), "not valid JSON"),
        (packed([]), "no JSON object"),
        (packed(b'{"a": 1, "a": 2}'), "twice"),
        (packed({"a": 5}), "nothing else"),
        (packed({"a": {**FINE, "more": 1}}, bytes(4)), "nothing else"),
        (packed({"a": {**FINE, "dtype": "F16"}}, bytes(4)), "float32"),
        (packed({"a": {**FINE, "dtype": ["F32"]}}, bytes(4)), "float32"),
        (packed({"a": {**FINE, "shape": [2]}}, bytes(4)), "takes 8 bytes"),
        (packed({"a": {**FINE, "shape": [-1]}}, bytes(4)), "beyond"),
        (packed({"a": {**FINE, "shape": [True]}}, bytes(4)), "beyond"),
        (packed({"a": {**FINE, "shape": [1.0]}}, bytes(4)), "beyond"),
        (packed({"a": {**FINE, "shape": [2**62, 2**62]}}, bytes(4)), "beyond"),
        (packed({"a": {**FINE, "shape": [1] * 9}}, bytes(4)), "beyond"),
        (packed({"a": {**FINE, "data_offsets": [0]}}, bytes(4)), "beyond"),
        (packed({"a": {**FINE, "data_offsets": [4, 0]}}, bytes(4)), "takes 4 bytes"),
        (packed({"a": {**FINE, "data_offsets": [4, 8]}}, bytes(4)), "beyond"),
        (packed({"a": FINE, "b": FINE}, bytes(4)), "overlap"),
        (packed({"a": {**FINE, "data_offsets": [4, 8]}}, bytes(8)), "gap"),
        (save({"a": np.float32([np.nan])}), "'a' holds NaN"),
        (save({"a": np.float32([1, -np.inf])}), "'a' holds NaN"),
        (save({"a": np.int32([1])}), "float32"),
    ],
)
def test_what_is_malformed_is_told_in_one_line(data: bytes, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        read_tensors(data, 1_000_000, "upload: x")
    assert str(caught.value).startswith("upload: x: ")
    assert "\n" not in str(caught.value)


def test_a_header_has_a_bound_of_its_own() -> None:
    with pytest.raises(InputError, match="its header has"):
        read_tensors(packed(b" " * (MAX_HEADER_BYTES + 1)), 2 * MAX_HEADER_BYTES)


def test_a_file_over_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large"
    with path.open("wb") as handle:
        handle.truncate(2**40)  # sparse: reading it would take all memory
    with pytest.raises(InputError, match=f"{2**40} bytes, over the {LIMIT}"):
        read_tensors(path, LIMIT)
    with pytest.raises(InputError, match="over the 10"):
        read_tensors(GOOD, 10)


def test_only_plain_files_are_read(tmp_path: Path) -> None:
    for path, told in ((tmp_path, "not a plain file"), (tmp_path / "none", "No such file")):
        with pytest.raises(InputError, match=told):
            read_bounded(path, LIMIT, "x")


@given(st.binary(max_size=64), st.integers(0, len(GOOD)), st.integers(0, 16))
def test_bytes_changed_anywhere_are_refused_or_read_as_safetensors_does(junk: bytes, at: int, cut: int) -> None:
    data = GOOD[:at] + junk + GOOD[at + cut :]
    try:
        found = read_tensors(data, LIMIT)
    except InputError as error:
        assert "\n" not in str(error)
        return
    theirs = load(data)
    assert found.keys() == theirs.keys()
    for name, value in found.items():
        np.testing.assert_array_equal(value, theirs[name])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["F32", "shape", "data_offsets"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ENTRY = st.fixed_dictionaries({"dtype": st.just("F32") | JSON, "shape": JSON, "data_offsets": JSON})


@given(st.dictionaries(st.text(max_size=5), ENTRY | JSON, max_size=3) | JSON, st.binary(max_size=32))
def test_any_header_gives_tensors_or_an_input_error(header: Any, data: bytes) -> None:
    try:
        found = read_tensors(packed(header, data), LIMIT)
    except InputError:
        return
    assert sum(value.nbytes for value in found.values()) == len(data)

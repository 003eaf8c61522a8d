"""Tokenizers read from folders, and their alignment by token string."""

import json
from pathlib import Path

import pytest
import tiny
import trained_tokenizers as trained
from hypothesis import given
from hypothesis import strategies as st

from adamms.checkpoint.vocabulary import align_rows, contradiction, read_vocabulary, spelling
from adamms.errors import AdammsError


def test_a_tokenizer_json_with_added_tokens(tmp_path: Path) -> None:
    tiny.write_tokenizer(tmp_path, ["[UNK]", "red", "blue"], added=["<image>"])
    assert read_vocabulary(tmp_path) == {"[UNK]": 0, "red": 1, "blue": 2, "<image>": 3}


def test_tokens_that_only_tokenizer_config_adds(tmp_path: Path) -> None:
    tiny.write_tokenizer(tmp_path, ["[UNK]", "red"])
    config = {"added_tokens_decoder": {"7": {"content": "<video>", "special": True}}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert read_vocabulary(tmp_path) == {"[UNK]": 0, "red": 1, "<video>": 7}


@pytest.mark.parametrize("row", [-1, "3", 1.0, None, True, [2]])
@pytest.mark.parametrize("file", ["vocab.json", "added_tokens.json"])
def test_a_token_without_a_row_of_its_own_is_an_error(file: str, row: object, tmp_path: Path) -> None:
    """A negative one would be read as a row from the end."""
    (tmp_path / "vocab.json").write_text(json.dumps({"red": 0}))
    (tmp_path / file).write_text(json.dumps({"blue": row}))
    with pytest.raises(AdammsError, match=r"the tokenizer has 'blue' at .*; expected a row's number"):
        read_vocabulary(tmp_path)


def test_a_folder_without_tokenizer_has_no_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert read_vocabulary(tmp_path) is None


def test_a_tokenizer_in_the_files_of_gpt2(tmp_path: Path) -> None:
    tokens = {"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3}
    (tmp_path / "vocab.json").write_text(json.dumps(tokens))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer"}))
    assert read_vocabulary(tmp_path) == tokens


# ---------------------------------------------------------------- real tokenizers


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize("settings", [{}, {"byte_fallback": False}, {"user_defined_symbols": ["<image>"]}])
def test_a_sentencepiece_model_is_read_as_sentencepiece_reads_it(
    kind: str, settings: dict[str, object], tmp_path: Path
) -> None:
    size = 40 if settings.get("byte_fallback") is False else 310
    pieces = trained.sentencepiece_model(tmp_path, trained.ONE, size, kind, **settings)
    assert len(pieces) > 30
    assert read_vocabulary(tmp_path) == {piece: index for index, piece in enumerate(pieces)}
    from transformers import AutoTokenizer

    assert read_vocabulary(tmp_path) == AutoTokenizer.from_pretrained(tmp_path).get_vocab()


def test_a_fast_tokenizer_as_transformers_saves_it(tmp_path: Path) -> None:
    vocabulary = trained.byte_level_bpe(tmp_path, trained.ONE, 290, ["<|image|>", "<|video|>"])
    assert "Ġthe" in vocabulary
    assert len(vocabulary) == 293
    assert read_vocabulary(tmp_path) == vocabulary


@pytest.mark.parametrize("decoder", [True, False])
def test_tokens_added_to_a_sentencepiece_model(decoder: bool, tmp_path: Path) -> None:
    """Behind its pieces, or in the place of one, as InternLM2 does; the piece is then no token any more."""
    pieces = trained.sentencepiece_model(tmp_path, trained.ONE, 300)
    trained.write_added_tokens(tmp_path, {"<image>": len(pieces), "<s>": 1, "<|im_start|>": 280}, decoder)
    expected = {piece: index for index, piece in enumerate(pieces)} | {"<image>": len(pieces)}
    del expected[pieces[280]]
    assert read_vocabulary(tmp_path) == expected | {"<|im_start|>": 280}


def test_how_tokens_are_spelled(tmp_path: Path) -> None:
    trained.sentencepiece_model(tmp_path / "pieces", trained.ONE, 300)
    trained.byte_level_bpe(tmp_path / "bytes", trained.ONE, 290, ["<|begin▁of▁sentence|>"])
    tiny.write_tokenizer(tmp_path, ["[UNK]", "red"])
    found = [read_vocabulary(folder) for folder in (tmp_path / "pieces", tmp_path / "bytes", tmp_path)]
    assert [spelling(vocabulary) for vocabulary in found if vocabulary] == ["sentencepiece", "byte-level", ""]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"IQ== 0\nIg== 1\n", "tokenizer.model is a tiktoken file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "tokenizer.model is no sentencepiece model"),
        (b"\x0a\x7f", "tokenizer.model is no sentencepiece model"),
        (b"\x0a\x02\x10\x01", "tokenizer.model is no sentencepiece model"),
    ],
)
def test_what_only_looks_like_a_sentencepiece_model(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(AdammsError, match=message.replace(".", r"\.")):
        read_vocabulary(tmp_path)


def test_a_truncated_sentencepiece_model(tmp_path: Path) -> None:
    trained.sentencepiece_model(tmp_path, trained.ONE, 300)
    file = tmp_path / "tokenizer.model"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(AdammsError, match=r"the tokenizer cannot be read \(tokenizer\.model is no sentencep"):
        read_vocabulary(tmp_path)


# ---------------------------------------------------------------- broken


@pytest.mark.parametrize("content", ["{", "{}", '{"model": 3}'])
def test_a_broken_tokenizer_is_an_error_that_names_the_folder(content: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(AdammsError, match="the tokenizer cannot be read") as caught:
        read_vocabulary(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))


def test_ids_that_mean_other_tokens_contradict_but_added_tokens_do_not(tmp_path: Path) -> None:
    def folder(name: str, words: list[str], added: list[str]) -> Path:
        (tmp_path / name).mkdir()
        tiny.write_tokenizer(tmp_path / name, ["[UNK]", *words], added=added)
        return tmp_path / name

    target, other = folder("target", ["red", "blue"], ["<image>"]), folder("other", ["red", "two"], [])
    marked, longer = (
        folder("marked", ["red", "blue"], ["<video>"]),
        folder("longer", ["red", "blue", "one"], []),
    )
    assert contradiction(target, other) == f"token 2 is 'blue' in {target} and 'two' in {other}"
    assert [contradiction(target, same) for same in (target, marked, longer)] == ["", "", ""]
    assert contradiction(target, tmp_path / "none") == f"{tmp_path / 'none'} has no tokenizer to compare"


def test_alignment_by_token() -> None:
    target = {"red": 0, "blue": 1, "<image>": 2, "green": 3}
    donor = {"blue": 0, "red": 4, "green": 2, "<video>": 1}
    #        red blue <image> green, then two padding rows
    assert align_rows(target, donor, rows=6, donor_rows=5) == (4, 0, -1, 2, -1, -1)


def test_tokens_beyond_either_matrix_have_no_row() -> None:
    target = {"red": 0, "blue": 1, "far": 9}
    donor = {"red": 5, "blue": 0, "far": 1}
    assert align_rows(target, donor, rows=2, donor_rows=5) == (-1, 0)


vocabularies = st.lists(st.text(max_size=2), unique=True, max_size=12).map(
    lambda tokens: {token: index for index, token in enumerate(tokens)}
)


@given(vocabularies, vocabularies, st.integers(1, 15), st.integers(1, 15))
def test_every_row_is_its_tokens_row_or_none(
    target: dict[str, int], donor: dict[str, int], rows: int, donor_rows: int
) -> None:
    aligned = align_rows(target, donor, rows, donor_rows)
    tokens = {index: token for token, index in target.items()}
    expected = []
    for row in range(rows):
        match = donor.get(tokens[row], -1) if row in tokens else -1
        expected.append(match if match < donor_rows else -1)
    assert aligned == tuple(expected)

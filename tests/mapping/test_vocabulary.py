"""Tokenizers read from folders, and their alignment by token string."""

import json
from pathlib import Path

import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from adamms.errors import AdammsError
from adamms.mapping.vocabulary import align_rows, read_vocabulary


def test_a_tokenizer_json_with_added_tokens(tmp_path: Path) -> None:
    tiny.write_tokenizer(tmp_path, ["[UNK]", "red", "blue"], added=["<image>"])
    assert read_vocabulary(tmp_path) == {"[UNK]": 0, "red": 1, "blue": 2, "<image>": 3}


def test_tokens_that_only_tokenizer_config_adds(tmp_path: Path) -> None:
    tiny.write_tokenizer(tmp_path, ["[UNK]", "red"])
    config = {"added_tokens_decoder": {"7": {"content": "<video>", "special": True}}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert read_vocabulary(tmp_path) == {"[UNK]": 0, "red": 1, "<video>": 7}


def test_a_folder_without_tokenizer_has_no_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert read_vocabulary(tmp_path) is None


def test_a_tokenizer_in_the_files_of_gpt2_is_read_through_transformers(tmp_path: Path) -> None:
    tokens = {"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3}
    (tmp_path / "vocab.json").write_text(json.dumps(tokens))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer"}))
    vocabulary = read_vocabulary(tmp_path)
    assert vocabulary is not None
    assert {token: vocabulary[token] for token in tokens} == tokens


@pytest.mark.parametrize("content", ["{", "{}", '{"model": 3}'])
def test_a_broken_tokenizer_is_an_error_that_names_the_folder(content: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(AdammsError, match="the tokenizer cannot be read") as caught:
        read_vocabulary(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))


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

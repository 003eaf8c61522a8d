"""Token strings and ids of a checkpoint's tokenizer, and the alignment of two of them by string.

Files are read as data: no code of a repository runs. Says which donor row belongs to which target row; knows
nothing of tensors.

Strings are compared as the tokenizers spell them. Byte-level BPE writes a leading space as `Ġ` and bytes
beyond ASCII as letters of its own; sentencepiece writes `▁` and whole characters. Models of the two kinds
have no ancestor in common, so even their equal tokens have nothing to do with each other. Such a pair is
not aligned at all (`spelling`).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adamms.checkpoint.reader import read_json
from adamms.errors import AdammsError

Vocabulary = Mapping[str, int]

# In order of preference; the first that is there counts.
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
# How a token begins that follows a space.
SPACES = {"sentencepiece": "▁", "byte-level": "Ġ"}


def read_vocabulary(folder: Path) -> Vocabulary | None:
    """Token -> id, added tokens included, of the tokenizer in `folder`; None if there is none.

    An added token takes the place of one that the model of the tokenizer has under its id.

    Raises:
        AdammsError: tokenizer files that cannot be read.
    """
    file = next((folder / name for name in TOKENIZER_FILES if (folder / name).is_file()), None)
    if file is None:
        return None
    try:
        match file.name:
            case "tokenizer.json":
                from tokenizers import Tokenizer

                own = dict(Tokenizer.from_file(str(file)).get_vocab(with_added_tokens=True))
            case "tokenizer.model":
                own = {piece: index for index, piece in enumerate(_pieces(file))}
            case _:
                own = _object(file)
        added = _added_tokens(folder)
    except Exception as error:
        raise AdammsError(f"{folder}: the tokenizer cannot be read ({error})") from error
    for token, index in (own | added).items():
        if type(index) is not int or index < 0:
            raise AdammsError(
                f"{folder}: the tokenizer has {token[:80]!r} at {str(index)[:80]!r}; expected a row's number"
            )
    taken = {index: token for token, index in added.items()}
    return {token: index for token, index in own.items() if taken.get(index, token) == token} | added


def contradiction(target: Path, donor: Path) -> str:
    """The first id that two folders' tokenizers mean different tokens by, in words; "" if there is none.

    Ids that one of them lacks do not count, nor do added tokens: the marks of images and of turns.
    """
    mine, theirs = ({index: token for token, index in _ordinary(one).items()} for one in (target, donor))
    if not mine or not theirs:
        return "" if target == donor else f"{donor if mine else target} has no tokenizer to compare"
    ids = (index for index in sorted(mine.keys() & theirs.keys()) if mine[index] != theirs[index])
    first = next(ids, None)
    return (
        ""
        if first is None
        else f"token {first} is {mine[first]!r} in {target} and {theirs[first]!r} in {donor}"
    )


def _ordinary(folder: Path) -> Vocabulary:
    """The vocabulary without added tokens; empty where there is no tokenizer."""
    added = set(_added_tokens(folder))
    if (file := folder / "tokenizer.json").is_file():
        added |= {str(token["content"]) for token in _object(file).get("added_tokens", [])}
    return {token: index for token, index in (read_vocabulary(folder) or {}).items() if token not in added}


def spelling(vocabulary: Vocabulary) -> str:
    """`sentencepiece` or `byte-level`, by how tokens begin that follow a space; "" if none does."""
    counts = {kind: sum(token.startswith(mark) for token in vocabulary) for kind, mark in SPACES.items()}
    kind = max(counts, key=lambda kind: counts[kind])
    return kind if counts[kind] else ""


def align_rows(target: Vocabulary, donor: Vocabulary, rows: int, donor_rows: int) -> tuple[int, ...]:
    """For each of the target's `rows` rows the donor's row of the same token, or -1.

    Rows without a token (padding of the matrix) and tokens that the donor lacks get -1.
    """
    aligned = [-1] * rows
    for token, index in target.items():
        match = donor.get(token, -1)
        if index < rows and match < donor_rows:
            aligned[index] = match
    return tuple(aligned)


def _pieces(file: Path) -> list[str]:
    """Every piece of a sentencepiece model in the order of their ids, control and byte pieces included."""
    from sentencepiece import SentencePieceProcessor

    try:
        processor = SentencePieceProcessor(model_file=str(file))
    except RuntimeError as error:
        tiktoken = re.match(rb"[A-Za-z0-9+/]+=* \d+\r?\n", file.read_bytes())
        raise AdammsError(
            f"{file.name} is {'a tiktoken file' if tiktoken else 'no sentencepiece model'} ({error}); save "
            f"the tokenizer with transformers, which writes a tokenizer.json"
        ) from error
    return [processor.id_to_piece(index) for index in range(processor.get_piece_size())]


def _added_tokens(folder: Path) -> dict[str, int]:
    """Tokens that were added beside the tokenizer's own file, by any version of transformers."""
    added = _object(folder / "added_tokens.json")
    decoder = _object(folder / "tokenizer_config.json").get("added_tokens_decoder") or {}
    return added | {str(token["content"]): int(index) for index, token in decoder.items()}


def _object(file: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one if there is no file."""
    return read_json(file) if file.is_file() else {}

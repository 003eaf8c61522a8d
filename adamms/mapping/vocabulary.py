"""Token strings and ids of a checkpoint's tokenizer, and the alignment of two of them by string.

Knows nothing of tensors: it answers which donor row belongs to which target row.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from adamms.errors import AdammsError

Vocabulary = Mapping[str, int]

# Files of tokenizers that have no tokenizer.json yet; transformers converts them.
_SLOW_FILES = ("tokenizer.model", "vocab.json")


def read_vocabulary(folder: Path) -> Vocabulary | None:
    """Token -> id, added tokens included, of the tokenizer in `folder`; None if there is none.

    Raises:
        AdammsError: tokenizer files that cannot be read.
    """
    fast = folder / "tokenizer.json"
    try:
        if fast.is_file():
            return _fast_vocabulary(fast, folder / "tokenizer_config.json")
        if any((folder / name).is_file() for name in _SLOW_FILES):
            from transformers import AutoTokenizer

            return dict(AutoTokenizer.from_pretrained(folder, local_files_only=True).get_vocab())
    except Exception as error:
        raise AdammsError(f"{folder}: the tokenizer cannot be read ({error})") from error
    return None


def _fast_vocabulary(file: Path, config_file: Path) -> dict[str, int]:
    from tokenizers import Tokenizer

    vocabulary: dict[str, int] = dict(Tokenizer.from_file(str(file)).get_vocab(with_added_tokens=True))
    if config_file.is_file():  # tokens that were added without re-saving tokenizer.json
        added = json.loads(config_file.read_text(encoding="utf-8")).get("added_tokens_decoder") or {}
        vocabulary |= {token["content"]: int(index) for index, token in added.items()}
    return vocabulary


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

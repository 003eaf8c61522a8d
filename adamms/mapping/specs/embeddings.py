"""How a donor's embeddings and head are mapped: whole, a common prefix, or row by row of the same token.

Their rows belong to tokens, and two models may have other numbers of them. Reads tokenizers, never a weight.
"""

from dataclasses import dataclass
from pathlib import Path

from adamms.checkpoint.tensor_file import TensorEntry
from adamms.checkpoint.vocabulary import TOKENIZER_FILES, Vocabulary, align_rows, read_vocabulary, spelling
from adamms.errors import AdammsError
from adamms.mapping.expression import Expression, Shape, Slice, Tokens, names_in
from adamms.mapping.specs.model import Model


@dataclass(frozen=True)
class Keep:
    """The target's tensor stays as it is, and why."""

    reason: str


def mismatch(
    entry: TensorEntry, name: str, donor: Model, expression: Expression, shape: Shape, advice: str
) -> AdammsError:
    """The error that `expression` over the donor `name` has another shape than the target's tensor."""
    read = " + ".join(dict.fromkeys(names_in(expression)))
    return AdammsError(
        f"shape mismatch at {entry.name}: the target has {list(entry.shape)}, donor {name!r} gives "
        f"{list(shape)} from {read} ({donor.checkpoint.folder}); {advice}"
    )


class DonorRows:
    """One donor's rows as seen from the target.

    Args:
        by: `rows`, `tokens` or `auto`, as `SpecMapper.embeddings`.
        common: with `rows`: how many leading rows correspond; None for all.
        name: the donor's.
        target, donor: the models.
    """

    def __init__(self, by: str, common: int | None, name: str, target: Model, donor: Model) -> None:
        self.by = by
        self.common = common
        self.name = name
        self.target = target
        self.donor = donor
        self._vocabularies: dict[Path, Vocabulary | None] = {}
        self._alignments: dict[tuple[int, int], tuple[int, ...]] = {}

    def find(self, entry: TensorEntry, expression: Expression, shape: Shape) -> Expression | Keep:
        """What stands for the target's `entry`, given the donor's `expression` of shape `shape`.

        Raises:
            AdammsError: another width; `rows` of other numbers; `tokens` without tokenizers that fit.
        """
        if shape[1:] != entry.shape[1:]:
            raise mismatch(
                *(entry, self.name, self.donor, expression, shape),
                "mapper.embeddings=keep keeps the target's",
            )
        match self.by:
            case "rows":
                return self._by_rows(entry, expression, shape)
            case "tokens":
                return self._by_tokens_or_error(entry, expression, shape[0])
        rows, donor_rows = entry.shape[0], shape[0]
        mine, theirs = self._vocabulary(self.target), self._vocabulary(self.donor)
        both = mine is not None and theirs is not None
        if rows == donor_rows and (not both or mine == theirs):
            return expression
        if both:
            return self._by_tokens(entry, expression, donor_rows)
        return Keep(f"{rows} rows, {self.name} has {donor_rows}, and not both have a tokenizer to align them")

    def _by_rows(self, entry: TensorEntry, expression: Expression, shape: Shape) -> Expression:
        rows, donor_rows = entry.shape[0], shape[0]
        if self.common is None:
            if rows != donor_rows:
                raise mismatch(
                    *(entry, self.name, self.donor, expression, shape),
                    "mapper.embedding_rows=N maps a common prefix, mapper.embeddings=tokens aligns by token",
                )
            return expression
        if not 0 < self.common <= min(rows, donor_rows):
            raise AdammsError(
                f"mapper.embedding_rows is {self.common}; expected 1 to {min(rows, donor_rows)}, the rows "
                f"that {entry.name} and {self.name} have in common"
            )
        if self.common == rows:
            return Slice(expression, 0, 0, self.common)
        return Tokens(expression, tuple(range(self.common)) + (-1,) * (rows - self.common))

    def _by_tokens_or_error(self, entry: TensorEntry, expression: Expression, donor_rows: int) -> Expression:
        found = self._by_tokens(entry, expression, donor_rows)
        if isinstance(found, Keep):
            raise AdammsError(
                f"mapper.embeddings=tokens: {entry.name} of {self.target} and {self.donor}: {found.reason}; "
                f"mapper.embeddings=keep keeps the target's"
            )
        return found

    def _by_tokens(self, entry: TensorEntry, expression: Expression, donor_rows: int) -> Expression | Keep:
        """Row by row of the same token, unless the tokenizers have nothing to do with each other."""
        mine, theirs = self._needed_vocabulary(self.target), self._needed_vocabulary(self.donor)
        kinds = [spelling(vocabulary) for vocabulary in (mine, theirs)]
        if all(kinds) and kinds[0] != kinds[1]:
            return Keep(f"the target's tokens are {kinds[0]}, those of {self.name} are {kinds[1]}")
        key = (entry.shape[0], donor_rows)
        if key not in self._alignments:
            self._alignments[key] = align_rows(mine, theirs, *key)
        aligned = Tokens(expression, self._alignments[key])
        return aligned if aligned.matched else Keep(f"no token in common with {self.name}")

    def _needed_vocabulary(self, model: Model) -> Vocabulary:
        vocabulary = self._vocabulary(model)
        if vocabulary is None:
            raise AdammsError(
                f"mapper.embeddings=tokens needs both tokenizers; {model.checkpoint.folder} has no "
                f"{', '.join(TOKENIZER_FILES[:-1])} or {TOKENIZER_FILES[-1]}"
            )
        return vocabulary

    def _vocabulary(self, model: Model) -> Vocabulary | None:
        """A donor's adapter may have a tokenizer of its own; the result has that of the target's folder."""
        checkpoint = model.checkpoint
        folders = (checkpoint.folder,) if model is self.target else checkpoint.tokenizer_folders
        for folder in folders:
            if folder not in self._vocabularies:
                self._vocabularies[folder] = read_vocabulary(folder)
            if self._vocabularies[folder] is not None:
                return self._vocabularies[folder]
        return None

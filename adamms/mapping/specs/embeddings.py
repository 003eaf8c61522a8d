"""How a donor's embeddings and head are mapped: whole, a common prefix, or row by row of the same token.

Rows belong to tokens, and two models may have different numbers of them. Reads tokenizers, never a weight.
"""

from dataclasses import dataclass, replace
from functools import cached_property

from adamms.checkpoint.tensor_entry import TensorEntry
from adamms.checkpoint.vocabulary import TOKENIZER_FILES, Vocabulary, align_rows, read_vocabulary, spelling
from adamms.errors import AdammsError
from adamms.mapping.expression import Expression, Shape, Slice, Tokens, names_in
from adamms.mapping.language_config import HIDDEN, number, plain
from adamms.mapping.specs.model import Model


@dataclass(frozen=True)
class Keep:
    """The target's tensor stays as it is, and why."""

    reason: str


def mismatch(
    tensor: str,
    wanted: Shape,
    target: Model,
    donor: str,
    model: Model,
    expression: Expression,
    found: Shape,
    advice: str,
) -> AdammsError:
    """The error that `expression` over the donor's `model` does not have the shape of the target's tensor."""
    mine, theirs = (number(plain(each.checkpoint.config), *HIDDEN) for each in (target, model))
    if mine and theirs and mine != theirs:
        advice = f"only models of one size merge: the target's hidden size is {mine}, {donor}'s {theirs}"
    read = " + ".join(dict.fromkeys(names_in(expression)))
    return AdammsError(
        f"shape mismatch at {tensor}: the target has {list(wanted)}, donor {donor!r} gives {list(found)} "
        f"from {read} ({model.checkpoint.folder}); {advice}"
    )


class Embeddings:
    """One donor's rows of tokens as seen from the target.

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
        self._alignments: dict[tuple[int, int], tuple[int, ...]] = {}

    def find(self, entry: TensorEntry, expression: Expression, shape: Shape) -> Expression | Keep:
        """What stands for the target's `entry`, given the donor's `expression` of shape `shape`.

        Rows of the target's own (`Label.rows`) are kept.

        Raises:
            AdammsError: another width; `rows` of other numbers; `tokens` without tokenizers that fit.
        """
        leading = self.target.labels[entry.name].rows
        if leading is None:
            return self._find(entry, expression, shape)
        found = self._find(replace(entry, shape=(leading, *entry.shape[1:])), expression, shape)
        if isinstance(found, Keep):
            return found
        source, rows = (found.source, found.rows) if isinstance(found, Tokens) else (found, range(leading))
        return Tokens(source, (*rows, *(-1,) * (entry.shape[0] - leading)))

    def _find(self, entry: TensorEntry, expression: Expression, shape: Shape) -> Expression | Keep:
        if shape[1:] != entry.shape[1:]:
            raise self._mismatch(entry, expression, shape, "mapper.embeddings=keep keeps the target's")
        if self.by == "rows":
            return self._by_rows(entry, expression, shape)
        rows, donor_rows = entry.shape[0], shape[0]
        mine, theirs = self._vocabularies
        if self.by == "auto":
            both = mine is not None and theirs is not None
            if rows == donor_rows and (not both or mine == theirs):
                return expression
            if not both:
                counts = f"{rows} rows, {self.name} has {donor_rows}"
                return Keep(f"{counts}, and not both have a tokenizer to align them")
        found = self._by_tokens(rows, donor_rows, expression)
        if self.by == "tokens" and isinstance(found, Keep):
            raise AdammsError(
                f"mapper.embeddings=tokens: {entry.name} of {self.target} and {self.donor}: "
                f"{found.reason}; mapper.embeddings=keep keeps the target's"
            )
        return found

    def _by_rows(self, entry: TensorEntry, expression: Expression, shape: Shape) -> Expression:
        rows, donor_rows = entry.shape[0], shape[0]
        if self.common is None and rows == donor_rows:
            return expression
        if self.common is None:
            advice = "mapper.embedding_rows=N maps a common prefix, mapper.embeddings=tokens aligns by token"
            raise self._mismatch(entry, expression, shape, advice)
        if self.common > min(rows, donor_rows):
            raise AdammsError(
                f"mapper.embedding_rows is {self.common}; expected 1 to {min(rows, donor_rows)}, the rows "
                f"that {entry.name} and {self.name} have in common"
            )
        if self.common == rows:
            return Slice(expression, 0, 0, self.common)
        return Tokens(expression, tuple(range(self.common)) + (-1,) * (rows - self.common))

    def _by_tokens(self, rows: int, donor_rows: int, expression: Expression) -> Expression | Keep:
        """Row by row of the same token, unless the tokenizers have nothing to do with each other."""
        for vocabulary, model in zip(self._vocabularies, (self.target, self.donor), strict=True):
            if vocabulary is None:
                raise AdammsError(
                    f"mapper.embeddings=tokens needs both tokenizers; {model.checkpoint.folder} has no "
                    f"{', '.join(TOKENIZER_FILES[:-1])} or {TOKENIZER_FILES[-1]}"
                )
        mine, theirs = (vocabulary or {} for vocabulary in self._vocabularies)
        kinds = [spelling(mine), spelling(theirs)]
        if all(kinds) and kinds[0] != kinds[1]:
            return Keep(f"the target's tokens are {kinds[0]}, those of {self.name} are {kinds[1]}")
        key = (rows, donor_rows)
        if key not in self._alignments:
            self._alignments[key] = align_rows(mine, theirs, *key)
        aligned = Tokens(expression, self._alignments[key])
        return aligned if aligned.matched else Keep(f"no token in common with {self.name}")

    @cached_property
    def _vocabularies(self) -> tuple[Vocabulary | None, Vocabulary | None]:
        """The target's, of its folder, and the donor's, of which an adapter may have one of its own."""
        theirs = (read_vocabulary(folder) for folder in self.donor.checkpoint.tokenizer_folders)
        mine = read_vocabulary(self.target.checkpoint.folder)
        return mine, next((vocabulary for vocabulary in theirs if vocabulary is not None), None)

    def _mismatch(self, entry: TensorEntry, expression: Expression, shape: Shape, advice: str) -> AdammsError:
        return mismatch(
            entry.name, entry.shape, self.target, self.name, self.donor, expression, shape, advice
        )

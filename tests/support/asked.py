"""An `Ask` over answers that are written down, which remembers who was asked what."""

from collections.abc import Mapping, Sequence

from adamms.engines.answer import Answer
from adamms.merge.candidate import Candidate
from adamms.search.evidence import Evidence

Rows = Sequence[str]  # one letter per example: a candidate's answers


class Book:
    """The answers of a grid of alphas, and of the donors."""

    def __init__(self, rows: Sequence[Rows], donors: Mapping[str, Rows] | None = None) -> None:
        self.candidates = [Candidate(place / (len(rows) - 1)) for place in range(len(rows))]
        self.examples = [f"e{place}" for place in range(len(rows[0]))]
        self.rows = dict(zip(self.candidates, rows, strict=True))
        self.donors = donors or {}
        self.asked: set[tuple[Candidate, str]] = set()

    def __call__(self, candidates: Sequence[Candidate], examples: Sequence[str]) -> Evidence:
        self.asked |= {(candidate, example) for candidate in candidates for example in examples}
        return Evidence(
            {candidate: self._said(self.rows[candidate], examples) for candidate in candidates},
            self._said(self.rows[self.candidates[0]], examples),
            {name: self._said(rows, examples) for name, rows in self.donors.items()},
        )

    def _said(self, rows: Rows, examples: Sequence[str]) -> dict[str, Answer]:
        return {example: Answer(rows[int(example[1:])]) for example in examples}

    @property
    def share(self) -> float:
        """Of the grid's answers that were asked."""
        return len(self.asked) / (len(self.candidates) * len(self.examples))

"""What a search without labels looks at: the answers of models, and how they are asked for.

Knows no labels, models or engines.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Literal, Protocol

from adamms.engines.answer import Answer
from adamms.merge.candidate import Candidate

Answers = Mapping[str, Answer]  # example id -> answer

# What a search may need beside the candidates' answers.
PARENTS = "parents"  # the answers of the target and of each donor, as models of their own
DONORS = "donors"  # some donor's own answers: without any the signal says nothing
CONTROL = "control"  # those of the target merged with the ancestor instead of the donors
DISTURBED = "disturbed"  # the candidates' answers to harmlessly changed examples
TOKENS = "tokens"  # the log-probabilities of the likeliest tokens at each position
SURENESS = "sureness"  # those of the generated tokens only, which may be interpolated
SCORES = "scores"  # how probable every candidate finds the parents' answers
SCORES_OF_ALL = "scores_of_all"  # how probable every candidate finds all candidates' and the donors' answers
TOKEN_IDS = "token_ids"  # ids of tokens that mean the same to the target and to every donor

Pool = Literal["parents", "all"]  # whose answers: see `sayers`
POOLS: Mapping[str, Pool] = {SCORES: "parents", SCORES_OF_ALL: "all"}  # whose are scored


@dataclass(frozen=True)
class Evidence:
    """Answers of several models to the same examples.

    >>> found = Evidence({Candidate(0.2): {"e1": Answer("red")}, Candidate(0.1): {"e1": Answer("blue")}})
    >>> [str(candidate) for candidate in found.order]
    ['0.1', '0.2']

    Args:
        candidates: candidate -> its answers.
        target: the target's own answers, whether or not it is a candidate.
        donors: donor name -> its answers, as a model of its own; of one that sees no images, only to examples
            without one.
        control: candidate -> answers of the target merged with the ancestor instead of the donors.
        disturbed: candidate -> its answers to harmlessly changed examples (`engines.disturbance`).
        scored: candidate -> example -> text -> that text with the log-probabilities that the candidate gives
            it (`Engine.score`). The texts are those of the pools that were asked for.
        likeness: how like each one's answers to these examples, all of one task, are those to another
            task: of all candidates, in their order, of the donors and last of the target; see
            `search.likeness`. Nothing where nobody has compared them.
        inferred, guessed: candidate -> examples that it was not asked, for which an answer from beside it
            stands in: one of two that are the same, or of two that differ; see `Bisection`.
    """

    candidates: Mapping[Candidate, Answers]
    target: Answers = field(default_factory=dict)
    donors: Mapping[str, Answers] = field(default_factory=dict)
    control: Mapping[Candidate, Answers] = field(default_factory=dict)
    disturbed: Mapping[Candidate, Answers] = field(default_factory=dict)
    scored: Mapping[Candidate, Mapping[str, Answers]] = field(default_factory=dict)
    likeness: Sequence[float] = ()
    inferred: Mapping[Candidate, Set[str]] = field(default_factory=dict)
    guessed: Mapping[Candidate, Set[str]] = field(default_factory=dict)

    @property
    def order(self) -> list[Candidate]:
        """The candidates in increasing order: the order of the rows of every signal."""
        return sorted(self.candidates)


def sayers(evidence: Evidence, pool: Pool) -> list[Answers]:
    """The answers of everyone in a pool.

    Args:
        pool: `parents`: the target, then the donors; `all`: all candidates in their order, then the donors.
    """
    first = [evidence.target] if pool == "parents" else [evidence.candidates[c] for c in evidence.order]
    return [*first, *evidence.donors.values()]


def said(evidence: Evidence, pool: Pool, example: str) -> list[Answer]:
    """What everyone in a pool who was asked answers to an example, if it `says_something`."""
    given = [answers[example] for answers in sayers(evidence, pool) if example in answers]
    return [answer for answer in given if says_something(answer)]


def says_something(answer: Answer) -> bool:
    """Whether it was not cut before it said anything, but perhaps a thought."""
    return bool(answer.said) or not answer.cut


def texts_and_cuts(answers: Iterable[Answer]) -> dict[str, bool]:
    """Text of some answers to one example -> whether every answer with that text was cut before its end.

    >>> texts_and_cuts([Answer("red"), Answer("blue", cut=True), Answer("red", cut=True)])
    {'red': False, 'blue': True}
    """
    found: dict[str, bool] = {}
    for answer in answers:
        found[answer.text] = found.get(answer.text, True) and answer.cut is True
    return found


class Ask(Protocol):
    """Gets answers, from an engine or from wherever they are kept."""

    def __call__(self, candidates: Sequence[Candidate], examples: Sequence[str]) -> Evidence:
        """The candidates' answers to the examples, with everything that the strategy `needs`.

        Candidates whose values the merge refuses are left out. It takes all of the grid.
        """
        ...


def recorded(answers: Mapping[Candidate, Answers]) -> Ask:
    """An `Ask` over answers that exist already."""

    def ask(candidates: Sequence[Candidate], examples: Sequence[str]) -> Evidence:
        return Evidence({c: {e: answers[c][e] for e in examples} for c in candidates})

    return ask


def texts(answers: Answers, examples: Sequence[str]) -> list[str]:
    """What the answers to these examples say, in their order: without the thoughts that they begin with."""
    return [answers[example].said for example in examples]


def table(answers: Mapping[Candidate, Answers], examples: Sequence[str]) -> list[list[str]]:
    """The texts of every candidate, in increasing order of the candidates: (candidates, examples)."""
    return [texts(answers[candidate], examples) for candidate in sorted(answers)]

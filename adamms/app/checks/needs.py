"""Whether a run has what its strategy needs beside the candidates' answers, said before any work."""

from collections.abc import Sequence
from pathlib import Path

from adamms.app.settings import Run
from adamms.engines.logs.replay import Replay
from adamms.errors import AdammsError
from adamms.search.evidence import (
    CONTROL,
    DISTURBED,
    DONORS,
    PARENTS,
    POOLS,
    SCORES,
    SCORES_OF_ALL,
    SURENESS,
    TOKEN_IDS,
    TOKENS,
)


def check_needs(run: Run) -> None:
    """Raise AdammsError if the strategy needs answers or log-probabilities that nobody is asked for."""
    if CONTROL in run.strategy.needs and not run.score_control:
        raise AdammsError("this search needs the answers of the control: evaluate.control=true")
    if run.logged is not None:
        raise AdammsError("evaluate=logged takes the scores of logs; expected engine=replay with it")
    if DONORS in run.strategy.needs and PARENTS not in run.strategy.needs:
        raise AdammsError("this search looks at the donors' own answers: search.donors=true")
    if not run.engine.logprobs and {TOKENS, SURENESS} & set(run.strategy.needs):
        raise AdammsError(
            "this search needs log-probabilities, and engine.logprobs is 0; expected search.logprobs=10, or "
            "1 where only those of the answers themselves count, as in search=trusted"
        )


def check_scores(run: Run, folder: Path) -> None:
    """Raise AdammsError if the strategy needs scores, which the target in `folder` cannot give."""
    if POOLS.keys() & set(run.strategy.needs):
        assert not isinstance(run.engine, Replay)
        run.engine.check_scores(folder)


def check_recorded(needs: Sequence[str]) -> None:
    """Raise AdammsError if a strategy needs more than the candidates' answers, which logs do not have."""
    names = {
        PARENTS: "the parents' own answers",
        CONTROL: "the answers of a control",
        DONORS: "the donors' own answers",
        DISTURBED: "answers to disturbed inputs",
        TOKENS: "log-probabilities",
        SURENESS: "the answers' log-probabilities",
        SCORES: "the probabilities that candidates give to the parents' answers",
        SCORES_OF_ALL: "the probabilities that candidates give to all answers",
        TOKEN_IDS: "tokenizers",
    }
    if needs:
        raise AdammsError(
            f"this search needs {', '.join(names[need] for need in needs)}; engine=replay has only "
            f"the candidates' answers: search=adamms goes with it, and search=trusted_logs"
        )

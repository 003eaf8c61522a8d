"""Scores by labels, after the choice: of candidates, parents and the control."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from adamms.app.asker import UNMERGED, Answers, Asker, Given
from adamms.app.donors import ask_donor, asked_of
from adamms.app.merges import Merges
from adamms.app.questions import Questions
from adamms.app.settings import Run
from adamms.engines.answer import texts
from adamms.engines.base import UnprovenError
from adamms.engines.stored_engine import StoredEngine
from adamms.errors import cause
from adamms.evaluate.evaluation import Evaluation, Scores
from adamms.evaluate.score import score_tasks
from adamms.merge.candidate import Candidate
from adamms.report.answered import Answered
from adamms.report.console import Console
from adamms.report.result import Result

# Always reported beside the winner: the target as it is, and 0.1, which needs no search.
REFERENCES = (UNMERGED, Candidate(0.1))


def score(run: Run, asker: Asker, answers: Answers, questions: Questions) -> Evaluation | None:
    """Score every model but the donors on the labelled examples; None where there is nothing to score with.

    Args:
        answers: what the candidates that are scored have answered; gains what is missing.
    """
    labelled, merges = questions.labelled, asker.merges
    if run.scorer is None or not labelled:
        return None
    scorer, labels = run.scorer, questions.data.answers

    def scores(given: Given) -> Scores:
        return score_tasks(scorer, labels, labelled, texts(given))

    def after(candidate: Candidate) -> None:
        asker.console.record.so_far(
            lambda: Result("", evaluation=Evaluation({candidate: scores(answers[candidate])}))
        )

    asker.fill("evaluate", answers, list(answers), merges.at, labelled, after)
    alphas = all(candidate.alpha_alone for candidate in answers)
    apart = not (alphas and merges.alpha_0_is_target)  # the target is asked on its own
    references = [c for c in REFERENCES if alphas and c not in answers and not (apart and c == UNMERGED)]
    asker.fill("evaluate references", answers, references, merges.at, labelled, after)
    if run.score_control:
        asker.fill("evaluate control", asker.control, list(answers), merges.control, labelled)
    if apart:
        asker.fill("evaluate target", asker.unmerged, [UNMERGED], lambda _: merges.target(), labelled)

    return Evaluation(
        candidates={candidate: scores(given) for candidate, given in sorted(answers.items())},
        control={each: scores(asker.control[each]) for each in sorted(answers) if run.score_control},
        target=scores(asker.unmerged[UNMERGED]) if apart else None,
    )


def score_proven(
    run: Run, asker: Asker, engine: StoredEngine, answers: Answers, questions: Questions
) -> tuple[Evaluation | None, Answers, str]:
    """The same, proven: scores and answers of swaps that did not come in are none.

    Returns:
        The evaluation, all answers, and in a sentence what failed, or "".
    """
    given = {candidate: dict(known) for candidate, known in answers.items()}
    with failures_as_notes(asker.console, "the models are") as failed:
        try:
            with engine.proven():
                evaluation = score(run, asker, given, questions)
        except UnprovenError:
            given = answers
            raise
        return evaluation, given, ""
    return None, given, "".join(failed)


def answered(questions: Questions, answers: Mapping[Candidate, Given]) -> tuple[Answered, ...]:
    """The examples that somebody has answered, in the data's order."""
    found = []
    for example in questions.data.examples:
        given = {c: known[example.id].text for c, known in answers.items() if example.id in known}
        if given:
            label = questions.data.answers.get(example.id)
            columns = questions.data.columns.get(example.id, {})
            found.append(Answered(example, given, None if label is None else str(label), columns=columns))
    return tuple(found)


def with_donors(
    run: Run, console: Console, merges: Merges, evaluation: Evaluation | None, questions: Questions
) -> tuple[Evaluation | None, tuple[str, ...]]:
    """Add the scores of each donor that can be asked everything, as a model of its own. No other may be live.

    Returns:
        The evaluation, if there is one, and a sentence for every donor that could not be evaluated.
    """
    if evaluation is None:
        return None, ()
    scored: dict[str, Scores] = {}
    failed: list[str] = []
    if run.score_donors and run.scorer is not None:
        able = (
            name
            for name, donor in merges.models.donors.items()
            if asked_of(donor, questions.labelled) == questions.labelled
        )
        for name in able:
            with failures_as_notes(console, f"the donor {name} is") as said:
                answers = texts(ask_donor(run, console, merges, name, "evaluate", questions.labelled))
                scored[name] = score_tasks(run.scorer, questions.data.answers, questions.labelled, answers)
            failed += said
    return replace(evaluation, donors=scored), tuple(failed)


@contextmanager
def failures_as_notes(console: Console, who: str) -> Iterator[list[str]]:
    """Whatever fails in the body is said and put into the list: what the search has found is worth more."""
    said: list[str] = []
    try:
        yield said
    except Exception as error:  # noqa: BLE001  (engines and processors raise many kinds)
        said.append(f"{who} not evaluated: {cause(error)}")
        console.warn(said[0])

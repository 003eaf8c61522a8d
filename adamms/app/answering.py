"""Who is asked what: opens the engine with its store, collects answers, and scores them afterwards.

Like `pipeline`, above the layers: it knows the configuration, engines, the store and the evaluation.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig

from adamms.app.merges import Case, build
from adamms.app.models import Described, advice
from adamms.checkpoint.hub import locate
from adamms.checkpoint.reader import Checkpoint
from adamms.data.example import Dataset, Example
from adamms.engines.answer import Answer, texts
from adamms.engines.base import Engine, PromptFiles
from adamms.engines.logs.replay import Replay
from adamms.engines.store import StoredEngine
from adamms.errors import AdammsError
from adamms.evaluate.evaluation import Evaluation, Scores
from adamms.evaluate.score import score_tasks
from adamms.evaluate.scorers import Scorer
from adamms.merge.candidate import Candidate
from adamms.merge.recipe import Recipe
from adamms.report.console import Advance, Console

Answers = dict[Candidate, dict[str, Answer]]

# Always reported beside the winner: the target as it is, and the share that is a fair guess.
UNMERGED = Candidate(0.0)
REFERENCES = (UNMERGED, Candidate(0.1))


def replayed(config: DictConfig) -> Replay | None:
    """The configured engine if it is one that only reads logs."""
    engine = build(config.engine)
    return engine if isinstance(engine, Replay) else None


def check_runnable(config: DictConfig, model: Described) -> None:
    """Raise AdammsError if the model's format is one that the configured engine cannot run.

    The message says what to do instead. An engine from elsewhere is not known, and so is not refused.
    """
    engine = build(config.engine).name
    if instead := advice(model, engine):
        raise AdammsError(f"{model} cannot be run with engine={engine}. {instead}")


def open_engine(config: DictConfig, source: DictConfig, checkpoint: Checkpoint) -> StoredEngine:
    """The configured engine for a model, behind the store; with store=null that keeps nothing.

    Args:
        source: the model's node in `config.model`, which may name a tokenizer and a chat template.
        checkpoint: the model, opened.

    Raises:
        AdammsError: it names one, and the engine takes only the checkpoint folder's own.
    """
    folder = None if config.store is None else Path(str(config.store)).expanduser()
    engine = build(config.engine).live(checkpoint.folder, _prompt_files(source))
    return StoredEngine(engine, folder, checkpoint)


def _prompt_files(source: DictConfig) -> PromptFiles:
    tokenizer, template = source.get("tokenizer"), source.get("chat_template")
    try:
        return PromptFiles(
            None if tokenizer is None else locate(str(tokenizer), weights=False),
            None if template is None else str(template),
        )
    except AdammsError as error:
        raise AdammsError(f"{source._get_full_key(None)}.tokenizer: {error}") from error


def searched_and_labelled(
    data: Dataset, searched: Mapping[str, Sequence[str]]
) -> tuple[list[Example], list[Example]]:
    """The examples that the search looks at (`searched`: task -> ids), and those that have a label."""
    chosen = {example for ids in searched.values() for example in ids}
    return (
        [example for example in data.examples if example.id in chosen],
        [example for example in data.examples if example.id in data.answers],
    )


def ask(
    console: Console,
    title: str,
    engine: Engine,
    recipes: Mapping[Candidate, Recipe],
    examples: Sequence[Example],
) -> Answers:
    """Every candidate's answers to the examples, from one live model."""
    answers: Answers = {}
    with console.stage(title, len(recipes) * len(examples), "answers") as advance:
        for candidate, recipe in recipes.items():
            engine.load(recipe)
            answers[candidate] = collect(engine, examples, advance)
    return answers


def fill(
    console: Console,
    title: str,
    engine: Engine,
    answers: Answers,
    candidates: Sequence[Candidate],
    recipe: Callable[[Candidate], Recipe],
    examples: Sequence[Example],
) -> None:
    """Have `answers` hold what every candidate says of the examples: what it lacks is asked for."""
    missing = {
        candidate: [example for example in examples if example.id not in answers.get(candidate, {})]
        for candidate in candidates
    }
    total = sum(map(len, missing.values()))
    if not total:
        return
    with console.stage(title, total, "answers") as advance:
        for candidate, wanted in missing.items():
            if wanted:
                engine.load(recipe(candidate))
                answers.setdefault(candidate, {}).update(collect(engine, wanted, advance))


def collect(engine: Engine, examples: Sequence[Example], advance: Advance) -> dict[str, Answer]:
    """All answers of the model that is live now."""
    answers = {}
    for example, answer in engine.generate(examples):
        answers[example] = answer
        advance(1)
    return answers


def evaluate(
    console: Console,
    config: DictConfig,
    case: Case,
    engine: Engine,
    data: Dataset,
    answers: Answers,
    scorer: Scorer,
) -> Evaluation:
    """Score the candidates, the parents and the control on the labelled examples.

    `answers` holds what the search generated, and gains the rest; the references, too, if it was for alpha
    alone.
    """
    labelled = [example for example in data.examples if example.id in data.answers]
    fill(console, "evaluate", engine, answers, list(answers), lambda c: case.at(c).recipe(), labelled)
    alphas = all(candidate.alpha_alone for candidate in answers)
    # Of some methods alpha 0 is another model than the target, which is then asked on its own.
    apart = not alphas or case.at(UNMERGED).recipe().changes
    wanted = [c for c in REFERENCES if alphas and c not in answers and not (apart and c == UNMERGED)]
    extra = {candidate: case.at(candidate).recipe() for candidate in wanted}
    answers |= ask(console, "evaluate references", engine, extra, labelled) if extra else {}
    control: Answers = {}
    if config.evaluate.control:
        recipes = {candidate: case.at(candidate).control_recipe() for candidate in answers}
        control = ask(console, "evaluate control", engine, recipes, labelled)
    target = ask(console, "evaluate target", engine, {UNMERGED: case.unmerged()}, labelled) if apart else {}
    donors = _answer_natively(console, config, case, labelled) if config.evaluate.donors else {}

    def scores(given: Mapping[str, Answer]) -> Scores:
        return score_tasks(scorer, data.answers, labelled, texts(given))

    return Evaluation(
        candidates={candidate: scores(given) for candidate, given in sorted(answers.items())},
        donors={name: scores(given) for name, given in donors.items()},
        control={candidate: scores(given) for candidate, given in sorted(control.items())},
        target=scores(target[UNMERGED]) if apart else None,
    )


def _answer_natively(
    console: Console, config: DictConfig, case: Case, examples: Sequence[Example]
) -> dict[str, dict[str, Answer]]:
    """Each donor's own answers, as a model of its own architecture; those that the engine can run."""
    answers = {}
    for name in case.donors:
        try:
            answers[name] = ask_donor(console, f"evaluate {name}", config, case, name, examples)
        except AdammsError as error:
            console.warn(f"the donor {name} is not evaluated: {error}")
    return answers


def ask_donor(
    console: Console, title: str, config: DictConfig, case: Case, name: str, examples: Sequence[Example]
) -> dict[str, Answer]:
    """A donor's own answers, as a model of its own architecture.

    Raises:
        AdammsError: the configured engine cannot run it.
    """
    donor = case.donors[name]
    check_runnable(config, donor)
    with (
        open_engine(config, config.model.donors[name], donor.checkpoint) as engine,
        console.stage(title, len(examples), "answers") as advance,
    ):
        if donor.checkpoint.adapted:
            engine.load(case.alone(donor))
        return collect(engine, examples, advance)

"""The modes: plan, merge, search. The only module that knows every part and the order they run in.

Each takes the composed configuration, checks what can be checked before any work, and writes its
results into `output`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from adamms.checkpoint.side_files import copy_side_files, model_card, side_files
from adamms.checkpoint.writer import check_writable, whole_folder, write_tensors
from adamms.compose import Case, alpha_of, build, compose_case, merge_command, settings_in_words
from adamms.data.example import Dataset, Example
from adamms.engines.base import Engine
from adamms.engines.responses import Candidate, Responses
from adamms.errors import AdammsError
from adamms.evaluate.evaluation import Evaluation, Scores
from adamms.merge.recipe import TARGET, Recipe
from adamms.search.candidates import grid, subset
from adamms.track.console import Console
from adamms.track.report import write_report
from adamms.track.result import RunResult

Score = Callable[[Mapping[str, str], Mapping[str, str]], float]
Answers = dict[Candidate, dict[str, str]]
Advance = Callable[[int], None]

RECORD = "adamms_recipe.json"
# The configuration of the run that wrote `model`, beside it: by this a run knows its own work.
SETTINGS = "config.yaml"
LOADER = "transformers.AutoModelForImageTextToText.from_pretrained"
# Always reported beside the winner: the target as it is, and the share that is a fair guess.
REFERENCES = (Candidate(0.0), Candidate(0.1))


def plan(config: DictConfig) -> None:
    """Map, from headers alone: print the coverage, write plan.json."""
    console = Console()
    case = compose_case(config)
    console.plan(case.plan)
    file = Path(config.output) / "plan.json"
    _write_json(file, case.plan.to_json())
    console.say(f"plan: {file}")


def merge(config: DictConfig) -> None:
    """Merge at merge.alpha; write the model and plan.json."""
    console = Console()
    output = Path(config.output)
    case = compose_case(config)
    recipe = case.recipe(alpha_of(config))
    _check_output(config, case)
    console.plan(case.plan)
    _write_model(console, config, case, recipe, output / "model")
    _write_json(output / "plan.json", case.plan.to_json())
    console.finish(output / "model", LOADER)


def search(config: DictConfig) -> None:
    """Find alpha without labels, write the merged model, then evaluate if there are labels, and report."""
    console = Console()
    output = Path(config.output)
    candidates, selector = grid(config.search.grid), build(config.search.selector)
    selector.check(candidates)
    scorer = build(config.evaluate.scorer)
    data: Dataset = build(config.data).load()
    searched = subset([(e.id, e.task) for e in data.examples], config.search.samples, config.search.seed)
    case = compose_case(config)
    recipes = {candidate: case.recipe(candidate.alpha) for candidate in candidates}
    _check_output(config, case)
    console.plan(case.plan)

    with build(config.engine)(case.target.checkpoint.folder) as engine:
        chosen = {example for ids in searched.values() for example in ids}
        inputs = [example for example in data.examples if example.id in chosen]
        answers = _respond(console, "search", engine, recipes, inputs)
        selection = selector.select(Responses(answers), searched)
        winner = selection.overall.alpha
        _write_model(console, config, case, recipes[winner], output / "model")
        _write_json(output / "plan.json", case.plan.to_json())
        _write_json(output / "selection.json", selection.to_json())
        evaluation = None
        if scorer is not None and data.answers:
            evaluation = _evaluate(console, config, case, engine, data, answers, scorer)
            _write_json(output / "evaluation.json", evaluation.to_json())
        _write_answers(output / "answers.jsonl", data.examples, answers)

    result = RunResult(
        title=f"{', '.join(case.names[name] for name in case.donors)} into {case.names[TARGET]}",
        target=case.names[TARGET],
        donors={name: case.names[name] for name in case.donors},
        method=f"{case.method.name}: {case.method.formula}",
        plan=case.plan,
        selection=selection,
        evaluation=evaluation,
        search=settings_in_words(config.search),
        labelled=len(data.answers) if evaluation else 0,
        timings=console.timings,
        merged=winner.alpha,
        folder=output / "model",
        load=f"{LOADER}({str(output / 'model')!r})",
        command=merge_command(),
    )
    console.results(result)
    write_report(output, result)
    console.finish(output / "model", LOADER)


def _respond(
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
            answers[candidate] = _collect(engine, examples, advance)
    return answers


def _collect(engine: Engine, examples: Sequence[Example], advance: Advance) -> dict[str, str]:
    """All answers of the model that is live now."""
    answers = {}
    for example, answer in engine.generate(examples):
        answers[example] = answer
        advance(1)
    return answers


def _evaluate(
    console: Console,
    config: DictConfig,
    case: Case,
    engine: Engine,
    data: Dataset,
    answers: Answers,
    scorer: Score,
) -> Evaluation:
    """Score the candidates, the parents and the control on the labelled examples.

    `answers` holds what the search generated, and gains the rest.
    """
    labelled = [example for example in data.examples if example.id in data.answers]
    known = set(next(iter(answers.values())))
    rest = [example for example in labelled if example.id not in known]
    recipes = {candidate: case.recipe(candidate.alpha) for candidate in answers}
    if rest:
        for candidate, more in _respond(console, "evaluate", engine, recipes, rest).items():
            answers[candidate] |= more
    extra = {c: case.recipe(c.alpha) for c in REFERENCES if c not in answers}
    answers |= _respond(console, "evaluate references", engine, extra, labelled) if extra else {}
    control: Answers = {}
    if config.evaluate.control:
        recipes = {candidate: case.control_recipe(candidate.alpha) for candidate in answers}
        control = _respond(console, "evaluate control", engine, recipes, labelled)
    donors = _answer_natively(console, config, case, labelled) if config.evaluate.donors else {}

    def scores(given: Mapping[str, str]) -> Scores:
        tasks = dict.fromkeys(example.task for example in labelled)
        truths = {task: {e.id: data.answers[e.id] for e in labelled if e.task == task} for task in tasks}
        return Scores({task: scorer(given, truth) for task, truth in truths.items()})

    return Evaluation(
        candidates={candidate: scores(given) for candidate, given in sorted(answers.items())},
        donors={name: scores(given) for name, given in donors.items()},
        control={candidate: scores(given) for candidate, given in sorted(control.items())},
    )


def _answer_natively(
    console: Console, config: DictConfig, case: Case, examples: Sequence[Example]
) -> dict[str, dict[str, str]]:
    """Each donor's own answers, as a model of its own architecture; those that the engine can run."""
    answers = {}
    for name, donor in case.donors.items():
        try:
            with (
                build(config.engine)(donor.checkpoint.folder) as engine,
                console.stage(f"evaluate {name}", len(examples), "answers") as advance,
            ):
                answers[name] = _collect(engine, examples, advance)
        except AdammsError as error:
            console.warn(f"the donor {name} is not evaluated: {error}")
    return answers


def _check_output(config: DictConfig, case: Case) -> None:
    """Fail before any work if the model could not be written at the end."""
    if not _continues(config):
        check_writable(Path(config.output) / "model", _bytes_needed(case))


def _continues(config: DictConfig) -> bool:
    """Whether this very run has written its model before: a job that was requeued, a command repeated."""
    file = Path(config.output) / SETTINGS
    return file.is_file() and file.read_text(encoding="utf-8") == OmegaConf.to_yaml(config, resolve=True)


def _bytes_needed(case: Case) -> int:
    checkpoint = case.target.checkpoint
    files = (checkpoint.folder / file for file in side_files(checkpoint.folder))
    return sum(entry.nbytes for entry in checkpoint.tensors.values()) + sum(f.stat().st_size for f in files)


def _write_model(console: Console, config: DictConfig, case: Case, recipe: Recipe, folder: Path) -> None:
    """The merged checkpoint with everything that the target's folder has beside its weights."""
    total = sum(entry.nbytes for entry in recipe.layout())
    record = case.record(recipe)
    if _continues(config) and _read_json(folder / RECORD) == json.loads(json.dumps(record)):
        console.say(f"{folder} was written by this run before; it is kept")
        return
    with whole_folder(folder, _bytes_needed(case)) as partial:
        with console.stage("merge", total, "bytes") as advance:
            write_tensors(recipe, partial, int(config.max_shard_gb * 1e9), advance=advance)
        copy_side_files(case.target.checkpoint.folder, partial)
        (partial / "README.md").write_text(model_card(list(case.names.values()), record), encoding="utf-8")
        _write_json(partial / RECORD, record)
        (folder.parent / SETTINGS).write_text(OmegaConf.to_yaml(config, resolve=True), encoding="utf-8")


def _write_answers(file: Path, examples: Sequence[Example], answers: Answers) -> None:
    """One line per example with every candidate's answer, to look at."""
    lines = []
    for example in examples:
        given = {str(c): answers[c][example.id] for c in sorted(answers) if example.id in answers[c]}
        if given:
            image = None if example.image is None else str(example.image)
            record = {"id": example.id, "task": example.task, "question": example.question, "image": image}
            lines.append(json.dumps(record | {"answers": given}, ensure_ascii=False))
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _read_json(file: Path) -> Any:
    """The file's content; None if it is not there."""
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None

"""The modes: plan, merge, search, respond. The only module that knows the order in which parts run.

Each takes the composed configuration, checks what can be checked before any work, and writes its
results into `output`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from adamms.answering import (
    Answers,
    ask,
    check_runnable,
    evaluate,
    open_engine,
    replayed,
    searched_and_labelled,
)
from adamms.architectures.spec import ENGINES
from adamms.checkpoint.side_files import copy_side_files, model_card, side_files
from adamms.checkpoint.writer import check_writable, whole_folder, write_tensors
from adamms.compose import Case, build, compose_case, variants_of
from adamms.data.example import Dataset, Example
from adamms.engines.replay import Replay
from adamms.engines.responses import Responses, axes_of
from adamms.errors import AdammsError
from adamms.grids import candidate_of, candidates_of
from adamms.merge.method import TARGET
from adamms.merge.recipe import Recipe
from adamms.models.registration import native_family
from adamms.opening import advice
from adamms.overrides import merge_command, settings_in_words
from adamms.resemblance import check_resemblance
from adamms.search.candidates import subset
from adamms.track.console import Console
from adamms.track.report import write_report
from adamms.track.result import RunResult

RECORD = "adamms_recipe.json"
# The configuration of the run that wrote `model`, beside it: by this a run knows its own work.
SETTINGS = "config.yaml"
# What loads it, its folder in the place of {}.
LOADER = "transformers.AutoModelForImageTextToText.from_pretrained({})"
NATIVE_LOADER = "adamms.models.registration.load_model({})"
VLLM_LOADER = "vllm.LLM({}, trust_remote_code=True)"


def plan(config: DictConfig) -> None:
    """Map: print the coverage, write plan.json. From headers, unless mapper or plan.verify reads weights."""
    console = Console()
    case = compose_case(config, console)
    console.plan(case.plan)
    file = Path(config.output) / "plan.json"
    _write_json(file, case.plan.to_json())
    console.say(f"plan: {file}")
    check_resemblance(console, config, case)


def merge(config: DictConfig) -> None:
    """Merge at merge.alpha; write the model and plan.json."""
    console = Console()
    output = Path(config.output)
    case = compose_case(config, console)
    case.recipe()  # what is wrong with alpha shows before any work
    _check_output(config, case)
    console.plan(case.plan)
    check_resemblance(console, config, case)
    case = _measured(console, case)
    recipe = case.recipe()
    _write_model(console, config, case, recipe, output / "model")
    _write_json(output / "plan.json", case.plan.to_json())
    if all(instead := [advice(case.target, engine) for engine in ENGINES]):
        console.say(f"The merged model is in {output / 'model'}. {instead[0]}")
    else:
        console.finish(output / "model", _loader(case))


def search(config: DictConfig) -> None:
    """Find alpha without labels, write the merged model, then evaluate if there are labels, and report.

    In alpha's place, or beside it, may be any number that the merge has: see `grids`.
    With engine=replay there is no model to load or to write: the answers of the logs are compared.
    """
    logs = replayed(config)
    if logs is not None:
        return _search_logs(config, logs)
    console = Console()
    output = Path(config.output)
    candidates, selector = candidates_of(config), build(config.search.selector)
    selector.check(candidates)
    variants = variants_of(config, candidates)
    scorer = build(config.evaluate.scorer)
    data: Dataset = build(config.data).load()
    searched = subset([(e.id, e.task) for e in data.examples], config.search.samples, config.search.seed)
    case = compose_case(config, console, variants)
    check_runnable(config, case.target)
    for candidate in candidates:
        case.at(candidate).recipe()  # what is wrong with the models shows before any work
    _check_output(config, case)
    console.plan(case.plan)
    check_resemblance(console, config, case)
    case = _measured(console, case)
    recipes = {candidate: case.at(candidate).recipe() for candidate in candidates}

    with open_engine(config, config.model.target, case.target.checkpoint) as engine:
        inputs, _ = searched_and_labelled(data, searched)
        answers = ask(console, "search", engine, recipes, inputs)
        selection = selector.select(Responses(answers), searched)
        winner = selection.overall.candidate
        _write_model(console, config, case, recipes[winner], output / "model")
        _write_json(output / "plan.json", case.plan.to_json())
        _write_json(output / "selection.json", selection.to_json())
        evaluation = None
        if scorer is not None and data.answers:
            evaluation = evaluate(console, config, case, engine, data, answers, scorer)
            _write_json(output / "evaluation.json", evaluation.to_json())
        _write_answers(output / "answers.jsonl", data.examples, answers)
        if engine.found:
            console.say(f"store: {engine.found} answers were there, {engine.generated} were generated")

    result = RunResult(
        title=f"{', '.join(case.names[name] for name in case.donors)} into {case.names[TARGET]}",
        target=case.names[TARGET],
        donors={name: case.names[name] for name in case.donors},
        method=case.arithmetic,
        plan=case.plan,
        selection=selection,
        evaluation=evaluation,
        search=settings_in_words(config.search),
        labelled=len(data.answers) if evaluation else 0,
        timings=console.timings,
        merged=winner,
        folder=output / "model",
        load=_loader(case).format(repr(str(output / "model"))),
        command=merge_command(list(axes_of(candidates))),
    )
    console.results(result)
    write_report(output, result)
    console.finish(output / "model", _loader(case))


def _search_logs(config: DictConfig, logs: Replay) -> None:
    """Find alpha from answers that other tools have logged; write selection.json and the report."""
    console = Console()
    output = Path(config.output)
    selector = build(config.search.selector)
    selector.check(logs.candidates)
    with console.stage("read logs"):
        found = logs.read()
    for note in found.notes:
        console.say(note)
    examples = [(example, task) for task, ids in found.tasks.items() for example in ids]
    searched = subset(examples, config.search.samples, config.search.seed)
    selection = selector.select(found.responses, searched)
    _write_json(output / "selection.json", selection.to_json())
    result = RunResult(
        title="Search in existing logs",
        selection=selection,
        search=settings_in_words(config.search, without=["grid"]),
        timings=console.timings,
        notes=[*(f"alpha {alpha}: {place}" for alpha, place in logs.logs.items()), *found.notes],
    )
    console.results(result)
    write_report(output, result)
    console.say(f"search: {output / 'report.md'}")


def respond(config: DictConfig) -> None:
    """Fill the store with one candidate's answers to what mode=search asks; write respond.json.

    Labelled examples and the control are answered too where the evaluation after that search would ask
    for them. Donors run as models of their own and are no candidate's: the search itself asks them.
    """
    console = Console()
    output = Path(config.output)
    if replayed(config) is not None:
        raise AdammsError("engine=replay has nothing to generate; it goes with mode=search")
    if config.store is None:
        raise AdammsError("mode=respond keeps answers in the store, but store=null; give a folder: store=...")
    candidate = candidate_of(config)
    variants = variants_of(config, [candidate])
    scored = config.evaluate.scorer is not None
    data: Dataset = build(config.data).load()
    searched = subset([(e.id, e.task) for e in data.examples], config.search.samples, config.search.seed)
    case = compose_case(config, console, variants)
    check_runnable(config, case.target)
    inputs, labelled = searched_and_labelled(data, searched)
    wanted = list(dict.fromkeys([*inputs, *labelled])) if scored else inputs
    mine = _measured(console, case).at(candidate)

    with open_engine(config, config.model.target, case.target.checkpoint) as engine:
        ask(console, f"respond {candidate}", engine, {candidate: mine.recipe()}, wanted)
        if scored and labelled and config.evaluate.control:
            recipes = {candidate: mine.control_recipe()}
            ask(console, f"respond {candidate} control", engine, recipes, labelled)
        counts = {"found": engine.found, "generated": engine.generated}
    _write_json(output / "respond.json", {"candidate": candidate.to_json(), **counts})
    console.say(f"respond: {output / 'respond.json'}")


def _measured(console: Console, case: Case) -> Case:
    """The case with what its method must know of the whole models."""
    total = case.bytes_to_measure
    if not total:
        return case
    with console.stage("measure", total, "bytes") as advance:
        return case.measured(advance)


def _check_output(config: DictConfig, case: Case) -> None:
    """Fail before any work if the model could not be written at the end."""
    if not _continues(config):
        check_writable(Path(config.output) / "model", _bytes_needed(case))


def _continues(config: DictConfig) -> bool:
    """Whether this very run has written its model before: a job that was requeued, a command repeated."""
    file = Path(config.output) / SETTINGS
    return file.is_file() and file.read_text(encoding="utf-8") == OmegaConf.to_yaml(config, resolve=True)


def _loader(case: Case) -> str:
    """The code that loads what is written."""
    if native_family(case.target.checkpoint.folder) is not None:
        return NATIVE_LOADER
    return VLLM_LOADER if advice(case.target, "transformers") else LOADER


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
        card = model_card(case.origins, record, _loader(case))
        (partial / "README.md").write_text(card, encoding="utf-8")
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

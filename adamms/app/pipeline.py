"""The modes: plan, merge, search, respond. The only module that knows the order in which parts run.

Each takes the composed configuration, checks what can be checked before any work, writes its results into
`output` and returns what it found. `run` tells it to whoever keeps track. mode=evaluate is in `evaluating`.
A little over 300 lines: one function a mode, and what they have in common.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from adamms.app.answering import (
    Answers,
    ask,
    check_runnable,
    evaluate,
    open_engine,
    replayed,
    searched_and_labelled,
)
from adamms.app.asker import asker_of, check_logprobs, check_recorded, donors_answers, recorded, selector_of
from adamms.app.grid import candidate_of, candidates_of
from adamms.app.job import merge_command, settings_in_words, this_job
from adamms.app.merges import Case, build, compose_case, variants_of
from adamms.app.models import advice
from adamms.app.modes.evaluate import Outside
from adamms.app.output import (
    check_output,
    complete_card,
    loader,
    model_folder,
    result_of,
    write_answers,
    write_json,
    write_model,
)
from adamms.app.settings import check_settings
from adamms.app.verify import check_resemblance, distances
from adamms.architectures.spec import ENGINES
from adamms.data.example import Dataset, Example
from adamms.engines.answer import texts
from adamms.engines.logs.replay import Replay, Replayed
from adamms.engines.store import StoredEngine
from adamms.errors import AdammsError
from adamms.evaluate.score import judge
from adamms.evaluate.scorers import Scorer
from adamms.merge.candidate import Candidate, axes_of
from adamms.report.console import Console
from adamms.report.logging import quiet_libraries
from adamms.report.report import write_report
from adamms.report.result import Answered, Hyperparameters, Result
from adamms.report.trackers.tracker import Tracker
from adamms.search.candidates import subset
from adamms.search.choice import Selector


def run(config: DictConfig) -> None:
    """Run the mode that the configuration names, and have its result recorded."""
    check_settings(config)
    quiet_libraries(config.verbose)
    console = Console()
    tracker: Tracker = build(config.track)
    settings: Any = OmegaConf.to_container(config, resolve=True)
    with tracker.run(settings, this_job()) as record:
        record(hydra.utils.get_method(config.mode.run)(config, console))


def plan(config: DictConfig, console: Console) -> Result:
    """Map: print the coverage, write plan.json. From headers, unless mapper or plan.verify reads weights."""
    case = compose_case(config, console)
    console.plan(case.plan)
    console.tree(case.plan)
    file = Path(config.output) / "plan.json"
    write_json(file, case.plan.to_json())
    console.say(f"plan: {file}")
    result = replace(result_of(case, console), checks=check_resemblance(console, config, case))
    console.say(f"report: {write_report(Path(config.output), result)}")
    return result


def merge(config: DictConfig, console: Console) -> Result:
    """Merge at merge.alpha; write the model and plan.json."""
    output = Path(config.output)
    case = compose_case(config, console)
    case.recipe()  # what is wrong with alpha shows before any work
    check_output(config, case)
    outside = Outside(config, console, model_folder(config))
    console.plan(case.plan)
    checks = check_resemblance(console, config, case)
    case = _measured(console, case)
    folder = write_model(console, config, case, case.recipe())
    write_json(output / "plan.json", case.plan.to_json())
    result = replace(
        result_of(case, console),
        checks=checks,
        folder=folder,
        load=_code(case, folder),
        hyperparameters=Hyperparameters.of_recipe(case.record(case.recipe())),
    )
    console.say(f"report: {write_report(output, result)}")
    result = _judged(outside, output, result)
    if all(instead := [advice(case.target, engine) for engine in ENGINES]):
        console.say(f"The merged model is in {folder}. {instead[0]}")
    else:
        console.finish(folder, loader(case))
    return result


def search(config: DictConfig, console: Console) -> Result:
    """Find alpha without labels, write the merged model, then evaluate if there are labels, and report.

    In alpha's place, or beside it, may be any number that the merge has: see `grids`.
    With engine=replay there is no model to load or to write: the answers of the logs are compared.
    """
    logs = replayed(config)
    if logs is not None:
        return _search_logs(config, console, logs)
    output, task = Path(config.output), _task(config)
    case = compose_case(config, console, variants_of(config, task.candidates))
    check_runnable(config, case.target)
    for candidate in task.candidates:
        case.at(candidate).recipe()  # what is wrong with the models shows before any work
    check_output(config, case)
    outside = Outside(config, console, model_folder(config))
    console.plan(case.plan)
    checks = check_resemblance(console, config, case) or distances(console, case)
    case = _measured(console, case)

    inputs, _ = searched_and_labelled(task.data, task.searched)
    donors = donors_answers(console, config, case, task.selector.needs, inputs)
    with open_engine(config, config.model.target, case.target.checkpoint) as engine:
        asker = asker_of(console, config, case, engine, task.selector.needs, donors, inputs)
        selection = task.selector.search(asker, task.candidates, task.searched)
        winner, case = selection.overall.candidate, asker.case  # which knows what was not on the grid, too
        answers = asker.given([*task.candidates, winner])
        recipe = case.at(winner).recipe()
        folder = write_model(console, config, case, recipe)
        write_json(output / "plan.json", case.plan.to_json())
        write_json(output / "selection.json", selection.to_json())
        evaluation = None
        if task.scorer is not None and task.data.answers:
            evaluation = evaluate(console, config, case, engine, task.data, answers, task.scorer)
            write_json(output / "evaluation.json", evaluation.to_json())
        answered = _answered(task.data, answers, task.scorer)
        write_answers(output / "answers.jsonl", answered)
        _tell_of_store(console, engine)

    result = replace(
        result_of(case, console),
        checks=checks,
        selection=selection,
        evaluation=evaluation,
        answered=answered,
        search=settings_in_words(config.search),
        labelled=len(task.data.answers) if evaluation else 0,
        merged=winner,
        hyperparameters=Hyperparameters.of_recipe(case.record(recipe)),
        folder=folder,
        load=_code(case, folder),
        command=merge_command(list(axes_of(task.candidates))),
        config=OmegaConf.to_yaml(config, resolve=True),
    )
    console.results(result)
    write_report(output, result)
    complete_card(case, recipe, result)
    result = _judged(outside, output, result)
    console.say(f"report: {output / 'report.html'}")
    console.finish(folder, loader(case))
    return result


def _tell_of_store(console: Console, engine: StoredEngine) -> None:
    if engine.found:
        console.say(f"store: {engine.found} answers were there, {engine.generated} were generated")


def _judged(outside: Outside, output: Path, result: Result) -> Result:
    """With what lmms-eval says, if it was asked: after the report, which a failure there leaves."""
    if not outside:
        return result
    result = outside.add_to(result)
    write_report(output, result)
    return result


@dataclass(frozen=True)
class _Task:
    """What a search is about: checked before a model is opened."""

    candidates: Sequence[Candidate]
    selector: Selector
    scorer: Scorer | None
    data: Dataset
    searched: Mapping[str, Sequence[str]]  # task -> example ids


def _task(config: DictConfig) -> _Task:
    candidates, selector = candidates_of(config), selector_of(config)
    selector.check(candidates)
    check_logprobs(config, selector.needs)
    scorer = build(config.evaluate.scorer)
    data, searched = _data(config)
    return _Task(candidates, selector, scorer, data, searched)


def _data(config: DictConfig) -> tuple[Dataset, Mapping[str, Sequence[str]]]:
    """All inputs, and the ids of those that are searched, by task."""
    data: Dataset = build(config.data).load()
    return data, subset([(e.id, e.task) for e in data.examples], config.search.samples, config.search.seed)


def _search_logs(config: DictConfig, console: Console, logs: Replay) -> Result:
    """Find alpha from answers that other tools have logged; write selection.json and the report."""
    if config.evaluate.get("lmms_eval") is not None:
        raise AdammsError("engine=replay writes no model that evaluate=lmms_eval could be run on")
    output = Path(config.output)
    selector = selector_of(config)
    selector.check(logs.candidates)
    check_recorded(selector.needs)
    with console.stage("read logs"):
        found = logs.read()
    for note in found.notes:
        console.say(note)
    examples = [(example, task) for task, ids in found.tasks.items() for example in ids]
    searched = subset(examples, config.search.samples, config.search.seed)
    selection = selector.search(recorded(found.answers), logs.candidates, searched)
    write_json(output / "selection.json", selection.to_json())
    result = Result(
        title="Search in existing logs",
        selection=selection,
        search=settings_in_words(config.search, without=["grid"]),
        timings=console.timings,
        notes=[*(f"alpha {alpha}: {place}" for alpha, place in logs.logs.items()), *found.notes],
        answered=_logged(found),
        config=OmegaConf.to_yaml(config, resolve=True),
    )
    console.results(result)
    write_report(output, result)
    console.say(f"report: {output / 'report.html'}")
    return result


def respond(config: DictConfig, console: Console) -> Result:
    """Fill the store with one candidate's answers to what mode=search asks; write respond.json.

    Labelled examples and the control are answered too where the evaluation after that search would ask
    for them. Donors run as models of their own and are no candidate's: the search itself asks them.
    """
    if replayed(config) is not None:
        raise AdammsError("engine=replay has nothing to generate; it goes with mode=search")
    if config.store is None:
        raise AdammsError("mode=respond keeps answers in the store, but store=null; give a folder: store=...")
    candidate = candidate_of(config)
    variants = variants_of(config, [candidate])
    scored = config.evaluate.scorer is not None
    data, searched = _data(config)
    case = compose_case(config, console, variants)
    check_runnable(config, case.target)
    inputs, labelled = searched_and_labelled(data, searched)
    wanted = list(dict.fromkeys([*inputs, *labelled])) if scored else inputs
    mine = _measured(console, case).at(candidate)

    with open_engine(config, config.model.target, case.target.checkpoint) as engine:
        recipe = mine.recipe()
        answers = ask(console, f"respond {candidate}", engine, {candidate: recipe}, wanted)
        if scored and labelled and config.evaluate.control:
            recipes = {candidate: mine.control_recipe()}
            ask(console, f"respond {candidate} control", engine, recipes, labelled)
        counts = {"found": engine.found, "generated": engine.generated}
    file = Path(config.output) / "respond.json"
    write_json(file, {"candidate": candidate.to_json(), **counts})
    console.say(f"respond: {file}")
    return replace(result_of(mine, console), answered=_answered(data, answers))


def _measured(console: Console, case: Case) -> Case:
    """The case with what its method must know of the whole models."""
    total = case.bytes_to_measure
    if not total:
        return case
    with console.stage("measure", total, "bytes") as advance:
        return case.measured(advance)


def _logged(found: Replayed) -> tuple[Answered, ...]:
    """The examples of logs, which tell of no question."""
    given = {c: texts(own) for c, own in found.answers.items()}
    return tuple(
        Answered(Example(id, task, question=""), {candidate: given[candidate][id] for candidate in given})
        for task, ids in found.tasks.items()
        for id in ids
    )


def _answered(data: Dataset, answers: Answers, scorer: Scorer | None = None) -> tuple[Answered, ...]:
    """The examples that somebody has answered, in the dataset's order; judged if there is a scorer."""
    found = []
    for example in data.examples:
        texts = {
            candidate: given[example.id].text for candidate, given in answers.items() if example.id in given
        }
        if texts:
            label = data.answers.get(example.id)
            right = {} if scorer is None or label is None else judge(texts, label, scorer)
            found.append(Answered(example, texts, label, right))
    return tuple(found)


def _code(case: Case, folder: Path) -> str:
    """What loads the model that was written."""
    return loader(case).format(repr(str(folder)))

"""mode=search: find alpha without labels, write the merged model, then evaluate where there are labels.

In alpha's place, or beside it, may be any number that the merge has: see `grid`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adamms.app.asker import Asker, Given
from adamms.app.checks.needs import check_needs, check_recorded, check_scores
from adamms.app.config.job import merge_command, own_folders
from adamms.app.distance import distances, verify
from adamms.app.donors import ask_donors, not_asked
from adamms.app.json_files import write_json, write_lines
from adamms.app.live import check_runnable, check_target, live, tell_of_store
from adamms.app.merges import Merges
from adamms.app.modes.common import map_models
from adamms.app.output import Output, result_of, write_evaluation
from adamms.app.questions import Questions, load_questions
from adamms.app.scores import answered, score_proven, with_donors
from adamms.app.settings import Run
from adamms.app.so_far import tell_so_far
from adamms.app.tools import Backends, add_tools, check_tools, check_values
from adamms.data.example import Example
from adamms.engines.logs.replay import Replay, Replayed
from adamms.engines.stored_engine import StoredEngine
from adamms.errors import AdammsError
from adamms.evaluate.evaluation import Evaluation
from adamms.evaluate.logged import LOGGED, LoggedScores
from adamms.evaluate.score import measure
from adamms.merge.candidate import axes_of
from adamms.report import files
from adamms.report.answered import Answered
from adamms.report.console import Console
from adamms.report.report import write_report
from adamms.report.result import Hyperparameters, Result
from adamms.search.candidates import subset
from adamms.search.choice import Selection
from adamms.search.evidence import recorded


def search(run: Run, console: Console) -> Result:
    """Write the model, plan.json, selection.json, evaluation.json, answers.jsonl and the report.

    With engine=replay there is no model to load or to write: the answers of logs are compared.
    """
    if isinstance(run.engine, Replay):
        return search_logs(run, run.engine, console)
    check_needs(run)
    check_values(run)
    run.strategy.check(run.grid)
    questions = load_questions(run, console)
    check_target(run, console, questions.asked(run.scorer is not None))
    merges = _mapped(run, console)
    output = Output(run, merges, console)
    output.check()
    backends = check_tools(run, console, output.folder)
    console.plan(merges.plan)
    checks = verify(run, console, merges) or distances(console, merges)
    merges = merges.measured(run.grid, console.stage)
    output = replace(output, merges=merges)

    unasked = not_asked(run, merges.models, questions)
    said = _say_not_asked(console, unasked)
    donors = ask_donors(run, console, merges, questions.inputs)
    with live(run, console, merges.models.target) as engine:
        asker, selection = _choose(run, console, merges, engine, questions, donors)
        cost = asker.cost
        winner = selection.overall.candidate
        write_json(run.output / files.PLAN, merges.plan.to_json())
        write_json(run.output / files.SELECTION, selection.to_json())
        folder = output.write(winner)
        answers = {each: asker.answers.get(each, {}) for each in dict.fromkeys([*run.grid, winner])}
        evaluation, answers, failure = score_proven(run, asker, engine, answers, questions)
        tell_of_store(console, engine)
    # The target's engine has made room for the donors'.
    evaluation, notes = with_donors(run, console, merges, evaluation, questions)
    result = replace(
        result_of(merges, console),
        checks=checks,
        selection=selection,
        cost=cost,
        evaluation=evaluation,
        failure=failure,
        not_asked=unasked,
        notes=(*said, *notes, *output.notes),
        answered=answered(questions, answers),
        search=settings_in_words(run),
        measure=measure(run.scorer, questions.data.answers.values()) if run.scorer and evaluation else "",
        labelled=len(questions.data.answers) if evaluation else 0,
        merged=winner,
        hyperparameters=Hyperparameters.of_recipe(output.record(winner)),
        folder=folder,
        load=output.load,
        command=merge_command(run.job, list(axes_of(run.grid))),
        config=run.config_text,
    )
    return _tell(run, console, output, backends, result)


def _choose(
    run: Run,
    console: Console,
    merges: Merges,
    engine: StoredEngine,
    questions: Questions,
    donors: Mapping[str, Given],
) -> tuple[Asker, Selection]:
    """Who was asked, and what was chosen; what the answers rest on is proven."""
    examples = {example.id: example for example in questions.inputs}
    asker = Asker(console, merges, engine, examples, run.strategy.needs, donors, run.cache / "disturbed")
    asker.after = lambda candidate: tell_so_far(run, asker, questions, candidate)
    selection = run.strategy.choose(asker, run.grid, questions.searched)
    console.record.so_far(lambda: Result("", selection=selection))
    engine.prove()
    return asker, selection


def _mapped(run: Run, console: Console) -> Merges:
    """The models, mapped; what is wrong with the target or with a candidate shows before any work."""
    merges = map_models(run, console)
    check_runnable(run, merges.models.target)
    check_scores(run, merges.models.target.checkpoint.folder)
    for candidate in run.grid:
        merges.check(candidate)
    return merges


def _say_not_asked(console: Console, unasked: Mapping[str, str]) -> list[str]:
    """A line for each donor that is not asked some of the questions: donor name -> which."""
    said = [f"donor {name} is not asked {what}" for name, what in unasked.items()]
    for line in said:
        console.say(line)
    return said


def _tell(run: Run, console: Console, output: Output, backends: Backends, result: Result) -> Result:
    """Print what was found, write all files that tell of it, and have evaluation tools evaluate the model.

    Returns:
        The result with what they found, if they were asked.
    """
    if result.evaluation is not None:
        write_evaluation(run.output / files.EVALUATION, result)
    write_answers(run.output / files.ANSWERS, result.answered)
    console.results(result)
    write_report(run.output, result)
    output.complete_card(result)
    console.say(f"report: {run.output / files.REPORT}")
    output.finish()
    if backends:  # last: a failure there leaves everything else
        result = add_tools(run, console, backends, result)
        write_report(run.output, result)
    return result


def search_logs(run: Run, logs: Replay, console: Console) -> Result:
    """Find alpha from answers that other tools have logged; write selection.json and the report."""
    for tool in run.tools:
        raise AdammsError(f"engine=replay writes no model that evaluate={tool.KEY} could be run on")
    run.strategy.check(logs.candidates)
    check_recorded(run.strategy.needs)
    published = {} if run.logged is None else run.logged.published_scores(own_folders())
    with console.stage("read logs"):
        found = logs.read()
    for note in found.notes:
        console.say(note)
    given = found.answers

    examples = [(example, task) for task, ids in found.tasks.items() for example in ids]
    searched = subset(examples, run.samples, run.seed)
    selection = run.strategy.choose(recorded(given), logs.candidates, searched)
    selection = selection.doubted(found.doubts)
    evaluation = None if run.logged is None else scores_in_logs(run.logged, found, list(run.models.donors))
    console.begin()
    write_json(run.output / files.SELECTION, selection.to_json())
    result = Result(
        title="Search in existing logs",
        donors={}
        if evaluation is None
        else {name: str(logs.other_places[name]) for name in evaluation.donors},
        selection=selection,
        evaluation=evaluation,
        measure=LOGGED if evaluation else "",
        published=published,
        search=settings_in_words(run, without=("grid",)),
        timings=console.timings,
        notes=(*(f"alpha {alpha}: {place}" for alpha, place in logs.places.items()), *found.notes),
        answered=tuple(
            Answered(Example(id, task, question=""), {c: texts[id].text for c, texts in given.items()})
            for id, task in examples
        ),
        config=run.config_text,
    )
    if evaluation is not None:
        write_evaluation(run.output / files.EVALUATION, result)
    console.results(result)
    write_report(run.output, result)
    console.say(f"report: {run.output / files.REPORT}")
    return result


def scores_in_logs(logged: LoggedScores, found: Replayed, donors: Sequence[str]) -> Evaluation:
    """The scores that the logs have of the candidates, of the donors and of the other models."""
    others = {name: logged.scores(files) for name, files in found.others.items()}
    return Evaluation(
        candidates={candidate: logged.scores(files) for candidate, files in found.files.items()},
        donors={name: own for name, own in others.items() if name in donors},
        others={name: own for name, own in others.items() if name not in donors},
    )


def settings_in_words(run: Run, without: Sequence[str] = ()) -> str:
    """The plain settings of the search, for people: 'signal.rule=sum, seed=0'."""
    shown = (item for item in _plain(run.config["search"]) if item[0] not in without)
    return ", ".join(f"{key}={'null' if value is None else value}" for key, value in shown)


def _plain(node: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    """Key and value of every setting, those of the objects in it, too."""
    for name, value in node.items():
        if isinstance(value, dict) and (
            "_target_" in value or any(isinstance(v, dict) for v in value.values())
        ):
            yield from _plain(value, f"{where}{name}.")
        elif name != "_target_":
            yield f"{where}{name}", value


def write_answers(file: Path, given: Sequence[Answered]) -> None:
    """One line per example with every candidate's answer, to look at."""
    records = []
    for one in given:
        e = one.example
        image = None if e.image is None else str(e.image)
        answers = {str(candidate): one.texts[candidate] for candidate in sorted(one.texts)}
        record: dict[str, Any] = {
            "id": e.id,
            "task": e.task,
            "question": e.question,
            "image": image,
            "answers": answers,
        }
        record |= {"images": list(map(str, e.images))} if e.more_images else {}
        if e.video is not None:
            files = list(map(str, e.video.files))
            record["video"] = files if e.video.of_frames else files[0]
        records.append(record | ({"columns": dict(one.columns)} if one.columns else {}))
    write_lines(file, records)

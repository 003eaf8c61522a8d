"""mode=evaluate: score a model that is there already, by the data's labels and by lmms-eval."""

from dataclasses import replace

from adamms.app.asker import collect
from adamms.app.given_model import given_model
from adamms.app.json_files import write_lines
from adamms.app.live import check_asked, live_checkpoint, tell_of_store
from adamms.app.output import write_evaluation
from adamms.app.questions import Questions, load_questions
from adamms.app.settings import Run
from adamms.app.tools import add_tools, check_tools
from adamms.checkpoint.hub.location import locate
from adamms.checkpoint.reader import Checkpoint, open_checkpoint
from adamms.engines.answer import texts
from adamms.errors import AdammsError
from adamms.evaluate.score import measure, score_tasks
from adamms.evaluate.scorers import Scorer
from adamms.report import files, tables
from adamms.report.answered import Answered
from adamms.report.console import Console
from adamms.report.report import write_report
from adamms.report.result import Result


def evaluate(run: Run, console: Console) -> Result:
    """Write evaluation.json, answers.jsonl and the report of the model in `model_folder`."""
    if run.model_folder is None:
        raise AdammsError("mode=evaluate needs a model: model_folder=FOLDER, or a hub id")
    # Of the data only what has a label is asked.
    questions = None if run.scorer is None else load_questions(replace(run, samples=0), console)
    checkpoint = open_checkpoint(locate(run.model_folder))
    model = given_model(run.model_folder)
    backends = check_tools(run, console, checkpoint.folder)
    labelled = questions is not None and bool(questions.labelled)
    if not backends and not labelled:
        why = "evaluate.scorer is null" if questions is None else "the data has no labels"
        raise AdammsError(f"mode=evaluate has nothing to do: {why}, and no evaluate.lmms_eval or .vlmevalkit")
    if questions is not None and not labelled:
        console.warn("the data has no labels, so there is no accuracy")
    result = Result(
        f"Evaluation of {model.name}",
        target=model.target,
        donors=model.donors,
        method=", ".join(f"{key}={value}" for key, value in model.merge.items()),
        hyperparameters=model.hyperparameters,
        evaluated=checkpoint.folder.resolve(),
        notes=(f"Model: {checkpoint.folder}",),
        config=run.config_text,
    )
    if run.scorer is not None and questions is not None and labelled:
        result = _scored(run, console, checkpoint, questions, run.scorer, result)
    console.begin()
    result = add_tools(run, console, backends, result, checkpoint.folder)
    write_report(run.output, result)
    console.say(f"evaluation: {run.output / files.REPORT}")
    return result


def _scored(
    run: Run, console: Console, checkpoint: Checkpoint, questions: Questions, scorer: Scorer, result: Result
) -> Result:
    """With the model's scores on the labelled examples; its answers go to answers.jsonl."""
    labelled, labels = questions.labelled, questions.data.answers
    with console.stage("check questions", len(labelled), "examples") as advance:
        check_asked(run, run.models.target, checkpoint.folder, labelled, advance)
    console.begin()
    with (
        live_checkpoint(run, console, checkpoint, run.models.target) as engine,
        console.stage("evaluate", len(labelled), "answers") as advance,
    ):
        answers = texts(collect(engine, labelled, advance))
    tell_of_store(console, engine)
    given = (
        {"id": e.id, "task": e.task, "question": e.question, "answer": answers[e.id]}
        | {"label": str(labels[e.id])}
        for e in labelled
    )
    write_lines(run.output / files.ANSWERS, given)
    scores = score_tasks(scorer, labels, labelled, answers)
    columns = questions.data.columns
    answered = tuple(
        Answered(e, {}, str(labels[e.id]), text=answers[e.id], columns=columns.get(e.id, {}))
        for e in labelled
    )
    result = replace(
        result,
        scores=scores,
        answered=answered,
        measure=measure(scorer, labels.values()),
        labelled=len(labelled),
        timings=console.timings,
    )
    console.table(tables.own_scores(result))
    write_evaluation(run.output / files.EVALUATION, result)
    return result

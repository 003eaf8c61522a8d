"""mode=evaluate, of a model that is there already; and what is evaluated outside, by lmms-eval.

Like `answering`, above the layers: it knows the configuration, engines and evaluators. Merges nothing.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from adamms.app.answering import collect, open_engine, replayed
from adamms.app.merges import build
from adamms.app.output import write_json
from adamms.checkpoint.hub import locate
from adamms.checkpoint.reader import Checkpoint, open_checkpoint
from adamms.data.example import Dataset
from adamms.engines.answer import texts
from adamms.errors import AdammsError
from adamms.evaluate.lmms.run import LmmsEval
from adamms.evaluate.score import score_tasks
from adamms.evaluate.scorers import Scorer
from adamms.report.console import Console
from adamms.report.report import write_report
from adamms.report.result import Result

FOLDER = "lmms_eval"  # of the run, for what lmms-eval leaves


class Outside:
    """lmms-eval as it is configured, or nothing where it is not.

    Args:
        config: the configuration.
        folder: of the model that it will be run on, there or not yet.

    Raises:
        AdammsError: it could not run; see `LmmsEval.check`.
    """

    def __init__(self, config: DictConfig, console: Console, folder: Path) -> None:
        self._output = Path(config.output)
        self._console = console
        self._model = folder
        self._lmms_eval: LmmsEval | None = build(config.evaluate.get("lmms_eval"))
        if self._lmms_eval is not None:
            with console.stage("look for lmms-eval"):
                self._backend = self._lmms_eval.check(folder)

    def __bool__(self) -> bool:
        return self._lmms_eval is not None

    def add_to(self, result: Result) -> Result:
        """Run it, print and record what it found.

        Returns:
            The result with it; as it was where nothing is configured.

        Raises:
            AdammsError: it failed; the model and everything that was written before are kept.
        """
        if self._lmms_eval is None:
            return result
        found = self._lmms_eval.run(self._model, self._output / FOLDER, self._backend, self._console.stage)
        result = replace(result, lmms_eval=found, timings=self._console.timings)
        self._console.lmms_eval(result)
        write_json(self._output / "evaluation.json", _record(result))
        return result


def evaluate(config: DictConfig, console: Console) -> Result:
    """Evaluate the model in `model_folder`: accuracy where the data has labels, and lmms-eval."""
    if config.model_folder is None:
        raise AdammsError("mode=evaluate needs a model: model_folder=FOLDER, or a hub id")
    if replayed(config) is not None:
        raise AdammsError("engine=replay has no model to evaluate; it goes with mode=search")
    scorer: Scorer | None = build(config.evaluate.scorer)
    data: Dataset | None = None if scorer is None else build(config.data).load()
    checkpoint = open_checkpoint(locate(str(config.model_folder)))
    outside = Outside(config, console, checkpoint.folder)
    labelled = data is not None and bool(data.answers)
    if not outside and not labelled:
        why = "evaluate.scorer is null" if data is None else "the data has no labels"
        raise AdammsError(f"mode=evaluate has nothing to do: {why}, and there is no evaluate.lmms_eval")
    if data is not None and not labelled:
        console.warn("the data has no labels, so there is no accuracy")
    result = Result(f"Evaluation of {checkpoint.folder.name}", notes=[f"Model: {checkpoint.folder}"])
    if scorer is not None and data is not None and labelled:
        result = _scored(config, console, checkpoint, data, scorer, result)
    result = outside.add_to(result)
    report = write_report(Path(config.output), result)
    console.say(f"evaluation: {report}")
    return result


def _scored(
    config: DictConfig,
    console: Console,
    checkpoint: Checkpoint,
    data: Dataset,
    scorer: Scorer,
    result: Result,
) -> Result:
    """With the model's scores on the labelled examples; its answers go to answers.jsonl."""
    labelled = [example for example in data.examples if example.id in data.answers]
    with (
        open_engine(config, config.model.target, checkpoint) as engine,
        console.stage("evaluate", len(labelled), "answers") as advance,
    ):
        answers = texts(collect(engine, labelled, advance))
    lines = []
    for e in labelled:
        record = {"id": e.id, "task": e.task, "question": e.question, "answer": answers[e.id]}
        lines.append(json.dumps(record | {"label": data.answers[e.id]}, ensure_ascii=False))
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    (output / "answers.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    scores = score_tasks(scorer, data.answers, labelled, answers)
    result = replace(result, scores=scores, labelled=len(labelled), timings=console.timings)
    console.scores(result)
    write_json(output / "evaluation.json", _record(result))
    return result


def _record(result: Result) -> dict[str, Any]:
    """evaluation.json."""
    own = {} if result.evaluation is None else result.evaluation.to_json()
    alone = {} if result.scores is None else {"model": result.scores.to_json()}
    outside = {} if result.lmms_eval is None else {"lmms_eval": result.lmms_eval.to_json()}
    return own | alone | outside

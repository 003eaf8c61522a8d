"""lmms-eval itself, in its own environment, on a model that we have merged; and what we say without it."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command import ROOT, STRANGERS, Outcome
from configured import configured
from configured_engines import settings_of, transformers_engine
from lmms_task import DigitsTask, lmms_eval, write_digits_task
from page_text import Page

from adamms.data.example import Label
from adamms.engines.answer import texts
from adamms.errors import AdammsError
from adamms.evaluate.foreign.guest import MARK
from adamms.evaluate.foreign.results import ToolResults
from adamms.evaluate.foreign.tool import Backend
from adamms.merge.candidate import Candidate
from adamms.report.console import Console

SKILLS, PER_TASK = ("read", "parity"), 14
PYTHON = Path(sys.prefix, "lmms-eval/bin/python")  # where `make lmms-eval` puts it
lmms = pytest.mark.lmms


@pytest.fixture(scope="module")
def python() -> Path:
    if not PYTHON.is_file():
        pytest.skip("no environment with lmms-eval: make lmms-eval")
    return PYTHON


@pytest.fixture(scope="module")
def task(talkative: Path, tmp_path_factory: pytest.TempPathFactory) -> DigitsTask:
    """Half of the labels are what the target says, which is untrained: so it is right now and then."""
    folder = tmp_path_factory.mktemp("digits")
    data = configured("data/digits", folder=folder / "images", per_task=PER_TASK, tasks=SKILLS).load()
    engine = transformers_engine(talkative / "donor", batch_size=1, max_new_tokens=2)
    said = texts(dict(engine.generate(data.examples)))
    labels = {
        id: Label((said[id],)) if i % 2 else label for i, (id, label) in enumerate(data.answers.items())
    }
    return write_digits_task(folder, replace(data, answers=labels))


def settings(python: Path, task: DigitsTask) -> dict[str, Any]:
    return {
        "python": python,
        "tasks": list(task.tasks),
        "model": "llava_hf",
        "model_args": {"device": "cpu", "device_map": "cpu"},
        "include_path": task.folder,
    }


# Really --------------------------------------------------------------------------------------------------


class Searched:
    """A search with lmms-eval after it: OneVision is the target, which lmms-eval's llava_hf runs."""

    def __init__(self, models: Path, task: DigitsTask, python: Path, output: Path) -> None:
        given = settings(python, task) | {"model_args": "{device:cpu,device_map:cpu}"}
        own = [f"evaluate.lmms_eval.{key}={value}" for key, value in given.items()]
        self.output = output
        self.done = subprocess.run(
            [
                *(sys.executable, str(ROOT / "run.py"), "model=custom", f"output={output}", "data=jsonl"),
                STRANGERS,
                *(f"model.target.path={models / 'donor'}", f"model.donors.a.path={models / 'target'}"),
                *(f"data.path={task.data}", "search.grid=[0,0.04,0.08]", "engine.max_new_tokens=2"),
                # Alone in its batch, an example is computed as lmms-eval computes it: to the last bit.
                *("engine.batch_size=1", "evaluate=[lmms_eval,accuracy]", "evaluate.donors=false", *own),
            ],
            capture_output=True,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "ADAMMS_CACHE": str(output / "cache"), "COLUMNS": "80"},
            check=False,
        )

    def read(self, name: str) -> Any:
        return json.loads((self.output / name).read_text())

    @property
    def winner(self) -> str:
        return f"{self.read('selection.json')['overall']['alpha']:g}"

    def answers(self, alpha: str) -> dict[str, list[str]]:
        """Task -> our answers, in order."""
        found: dict[str, list[str]] = {task: [] for task in SKILLS}
        for line in (self.output / "answers.jsonl").read_text().splitlines():
            record = json.loads(line)
            found[record["task"]].append(record["answers"][alpha])
        return found


@pytest.fixture(scope="module")
def searched(
    talkative: Path, task: DigitsTask, python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Searched:
    return Searched(talkative, task, python, tmp_path_factory.mktemp("searched"))


@lmms
def test_its_accuracy_is_ours_on_the_merged_model(searched: Searched) -> None:
    assert searched.done.returncode == 0, searched.done.stderr
    evaluation = searched.read("evaluation.json")
    ours = evaluation["candidates"][searched.winner]["tasks"]
    metrics = {metric["task"]: metric for metric in evaluation["lmms_eval"]["metrics"]}
    theirs = {skill: 100 * metrics[f"digits_{skill}"]["value"] for skill in SKILLS}
    assert theirs == ours
    assert all(0 < score < 100 for score in ours.values())
    assert {metric["samples"] for metric in metrics.values()} == {PER_TASK}


@lmms
def test_its_progress_results_and_report(searched: Searched) -> None:
    out, page = searched.done.stdout, Page(searched.output / "report.html")
    assert f"lmms-eval: {2 * PER_TASK} requests in " in out
    assert "lmms-eval 0.7.3, llava_hf" in out
    rows = next(rows for label, rows in page.tables.items() if label.startswith("lmms-eval 0.7.3"))
    assert ["digits_parity", "exact_match"] in [row[:2] for row in rows]
    assert "Traceback" not in (searched.output / "lmms_eval/log.txt").read_text()


@lmms
def test_its_answers_are_ours_string_by_string_and_can_be_replayed(searched: Searched) -> None:
    """engine=replay reads its samples as they are: of the winner, the answers that our engine gave there."""
    alpha = searched.winner
    found = settings_of("replay", logs={alpha: str(searched.output / "lmms_eval")}).read()
    assert sorted(found.tasks) == sorted(f"digits_{skill}" for skill in SKILLS)
    said = found.answers[Candidate(float(alpha))]
    ours = searched.answers(alpha)
    for skill in SKILLS:
        assert [said[id].text.strip() for id in found.tasks[f"digits_{skill}"]] == ours[skill]
        assert len(set(ours[skill])) > 2  # else equal answers would say nothing
    # lmms-eval has let go of an example before it hashes it, so that all its hashes are one.
    assert all(f"{PER_TASK} examples, aligned by number" in note for note in found.notes)


@lmms
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "llava_fh"}, r"llava_fh.*\. Nearest: llava_hf"),
        ({"tasks": ["digits_paryti"]}, r"digits_paryti.* does not know.*\. Nearest: digits_parity"),
    ],
)
def test_what_it_does_not_know_is_said_before_any_work(
    python: Path, task: DigitsTask, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(AdammsError, match=said):
        lmms_eval(**{**settings(python, task), **change}).check(tmp_path / "model")


# Without it -----------------------------------------------------------------------------------------------


def interpreter(file: Path, script: str) -> Path:
    """A shell script in the place of lmms-eval's interpreter."""
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


def run_it(python: Path, folder: Path) -> ToolResults:
    evaluator = lmms_eval(python=python, tasks=["mme"])
    stage = Console(file=io.StringIO()).stage
    return evaluator.run(folder / "model", folder / "out", Backend("0", "model"), stage)


@pytest.mark.parametrize(
    ("script", "how"), [("exit 3", "ended with status 3"), ("exit 0", "wrote no results")]
)
def test_a_crash_shows_its_last_lines_and_keeps_the_model(tmp_path: Path, script: str, how: str) -> None:
    (tmp_path / "model").mkdir()
    bars = "printf 'Model Responding:   0%%|  | 0/4 [00:00<?]\\rModel Responding:  50%%|# | 2/4 [00:01<?]\\n'"
    python = interpreter(tmp_path / "python", f"echo first; {bars}; echo 'CUDA out of memory' >&2; {script}")
    with pytest.raises(AdammsError) as error:
        run_it(python, tmp_path)
    assert str(error.value) == (
        f"lmms-eval {how} on {tmp_path / 'model'}, which is kept; its log is {tmp_path / 'out/log.txt'} "
        "and ends:\n    first\n    CUDA out of memory"
    )
    assert (tmp_path / "model").is_dir()


def test_a_crash_after_a_merge_leaves_the_model(
    run: Callable[..., Outcome], miniature: Path, tmp_path: Path
) -> None:
    answer = json.dumps({"version": "0", "folder_argument": "pretrained"})
    script = f"if [ $3 = look ]; then echo '{MARK}{answer}'; else echo out of luck; exit 3; fi"
    done = run(
        *("mode=merge", "model=custom", f"model.target.path={miniature / 'target'}", "merge.alpha=0.5"),
        *(f"model.donors.a.path={miniature / 'donor'}", "evaluate=lmms_eval", f"output={tmp_path / 'out'}"),
        *(
            "evaluate.lmms_eval.tasks=[mme]",
            f"evaluate.lmms_eval.python={interpreter(tmp_path / 'p', script)}",
        ),
    )
    assert done.status == 2
    assert "out/lmms_eval/log.txt and ends:\n    out of luck\n" in done.err
    assert (tmp_path / "out/model/model.safetensors").is_file()
    assert f"The merged model is in {tmp_path / 'out/model'}" in done.out


def test_old_results_are_not_taken_for_new_ones(tmp_path: Path) -> None:
    (tmp_path / "out/m").mkdir(parents=True)
    (tmp_path / "out/m/20250101_000000_results.json").write_text("{}")
    with pytest.raises(AdammsError, match="wrote no results"):
        run_it(interpreter(tmp_path / "python", "exit 0"), tmp_path)


def test_it_ends_with_us_and_so_does_what_it_has_started(tmp_path: Path) -> None:
    """Also an orphan of its, which holds its output open."""
    pids = tmp_path / "pids"
    python = interpreter(tmp_path / "python", f"sleep 600 & echo $! > {pids}; echo started; exit 3")
    start = time.monotonic()
    with pytest.raises(AdammsError, match="status 3"):
        run_it(python, tmp_path)
    assert time.monotonic() - start < 60
    gone(int(pids.read_text()))


def test_an_interrupt_ends_it(tmp_path: Path) -> None:
    bar = "Model Responding:  50%%|# | 2/4 [00:01<?]"
    python = interpreter(
        tmp_path / "python", f"echo $$ > {tmp_path / 'pid'}; printf '{bar}\\n'; exec sleep 600"
    )
    code = (
        "import sys; from pathlib import Path; from adamms.evaluate.foreign.tool import Backend\n"
        "from lmms_task import lmms_eval\n"
        "from adamms.report.console import Console; import signal\n"
        # As from a terminal, wherever the tests were started: what runs in the background ignores it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "lmms_eval(python=Path(sys.argv[1]), tasks=['mme']).run(Path('m'), Path(sys.argv[2]), "
        "Backend('0', 'model'), Console().stage)"
    )
    ours = subprocess.Popen(
        [sys.executable, "-uc", code, str(python), str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "tests/support"), str(ROOT)])},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with ours:
        assert ours.stdout is not None
        while "start lmms-eval" not in ours.stdout.readline():
            assert ours.poll() is None
        ours.send_signal(signal.SIGINT)  # while it answers
        assert ours.wait(60) != 0
    gone(int((tmp_path / "pid").read_text()))


def gone(pid: int) -> None:
    for _ in range(200):
        status = Path(f"/proc/{pid}/stat")
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} is still there")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"python": "no/such/python"},
            "no/such/python: no such interpreter; `make lmms-eval` in a checkout makes one",
        ),
        (
            {"python": sys.executable},
            "No package metadata was found for lmms_eval; `make lmms-eval` in a checkout makes one",
        ),
        ({"include_path": "no/tasks"}, "include_path: no/tasks: no such folder"),
        ({"tasks": "[]"}, "evaluate.lmms_eval.tasks is []; expected at least 1 item"),
        ({"limit": "0"}, "limit is 0; expected a number above 0"),
        ({"arguments": "['--output_path=x']"}, "'--output_path=x', which has a key of its own"),
        ({"batch_sise": "4"}, "batch_sise"),
    ],
)
def test_what_is_wrong_is_said_at_the_door(
    run: Callable[..., Outcome], miniature: Path, tmp_path: Path, change: dict[str, str], said: str
) -> None:
    given = {"python": sys.executable, "tasks": "[mme]"} | change
    done = run(
        *("mode=merge", "model=custom", f"model.target.path={miniature / 'target'}"),
        *(f"model.donors.a.path={miniature / 'donor'}", "evaluate=lmms_eval", f"output={tmp_path / 'out'}"),
        *(f"evaluate.lmms_eval.{key}={value}" for key, value in given.items()),
    )
    assert done.status == 2
    assert said in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "out/model").exists()


def test_an_lmms_eval_that_lacks_a_module_of_another_package_says_which(tmp_path: Path) -> None:
    """As lmms-eval 0.7.3 beside filelock 4: it imports, and fails when an evaluation begins."""
    write = {
        "lmms_eval-9.dist-info/METADATA": "Name: lmms_eval\nVersion: 9\n",
        "lmms_eval/models.py": "AVAILABLE_MODELS = {'vllm': ''}",
        "lmms_eval/evaluator.py": "def _enable_reentrant_filelocks():\n    import filelock._no_such_api",
    }
    for name, text in write.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    python = Path(sys.executable)
    evaluator = lmms_eval(python=python, tasks=["mme"], environment={"PYTHONPATH": str(tmp_path)})
    with pytest.raises(AdammsError) as error:
        evaluator.check(tmp_path / "model")
    assert str(error.value) == (
        f"evaluate.lmms_eval.python: lmms-eval cannot start in {python}: No module named "
        "'filelock._no_such_api'; `make lmms-eval` in a checkout makes one that has it: "
        "evaluate.lmms_eval.python=.venv/lmms-eval/bin/python"
    )


def test_a_path_with_a_comma_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AdammsError, match="comma"):
        lmms_eval(python=Path("python"), tasks=["mme"]).check(tmp_path / "merge.alpha=0.1,seed=2")


def test_the_command_line_of_everything() -> None:
    evaluator = lmms_eval(
        python=Path("python"),
        tasks=["mme", "mmmu_val"],
        model_args={"dtype": "bfloat16", "limit_mm_per_prompt": {"image": 1}, "chat_template": None},
        batch_size=8,
        limit=0.5,
        include_path=Path("/tasks"),
        gen_kwargs={"max_new_tokens": 16},
        arguments=["--seed", "3"],
    )
    command = evaluator.command(Path("/runs/a=1/model"), Path("/out"), Backend("0.7.3", "model"))
    assert command == [
        *("--model", "vllm", "--model_args"),
        'model=/runs/a=1/model,dtype=bfloat16,limit_mm_per_prompt={"image": 1}',
        *("--tasks", "mme,mmmu_val", "--batch_size", "8", "--output_path", "/out", "--limit", "0.5"),
        *("--include_path", "/tasks", "--gen_kwargs", "max_new_tokens=16", "--log_samples", "--seed", "3"),
    ]

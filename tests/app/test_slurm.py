"""Real SLURM jobs through `python run.py -m ... hydra/launcher=slurm`: arrays, requeues, errors.

`.ci/slurm.sh` starts a cluster on this machine. Nothing here waits without a limit.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import slow_engine
import torch
from cluster import ready_partition
from command import STRANGERS
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 180  # seconds until a job must have come as far as is waited for
TENSOR = "model.layers.1.mlp.up_proj.weight"

pytestmark = pytest.mark.slurm

# A merge method that waits in the middle of the merge as long as the file `gate` exists.
GATED = """
import time
from dataclasses import dataclass
from pathlib import Path
import torch
from adamms.merge.method import Chunk
from adamms.merge.methods.linear import Linear

@dataclass(frozen=True)
class Gated(Linear):
    gate: str

    def merge(self, chunk: Chunk) -> torch.Tensor:
        while Path(self.gate).exists():
            time.sleep(0.1)
        return super().merge(chunk)
"""

# An engine without a model that waits after two batches at alpha 0.2 as long as the file in $GATE exists.
GATED_ENGINE = """
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from adamms.data.example import Example
from adamms.engines.answer import Answer
from slow_engine import Slow, SlowEngine

class GatedEngine(SlowEngine):
    def generate(self, examples: Sequence[Example]) -> Iterator[tuple[str, Answer]]:
        for count, answer in enumerate(super().generate(examples)):
            while self.alpha == 0.2 and count >= 2 * self.batch_size and Path(os.environ["GATE"]).exists():
                time.sleep(0.1)
            yield answer

class Gated(Slow):
    engine = GatedEngine
"""


def slurm(*command: str) -> str:
    """What one of SLURM's commands prints."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def partition() -> str:
    return ready_partition()


@dataclass
class Sweep:
    """A multirun that was launched in `folder`, whose jobs run in SLURM."""

    folder: Path
    process: subprocess.Popen[bytes]
    jobs: list[str] = field(default_factory=list)

    def until(self, what: str, reached: Callable[[], bool]) -> None:
        """Wait until `reached`; fail with everything that was printed when it takes too long."""
        limit = time.monotonic() + PATIENCE
        while not reached():
            if time.monotonic() > limit:
                pytest.fail(f"after {PATIENCE} s still not {what}\n{self.printed()}")
            time.sleep(0.2)

    def started(self, count: int = 1) -> list[str]:
        """The ids of the array's tasks, `job_task`, as soon as they have been submitted."""

        def submitted() -> bool:
            folders = self.folder.glob("multirun/*/*/.submitit/*/*_submitted.pkl")
            self.jobs = sorted({file.parent.name for file in folders})
            assert self.process.poll() in (None, 0), self.printed()
            return len(self.jobs) == count

        self.until(f"{count} jobs submitted", submitted)
        return self.jobs

    def finish(self, status: int = 0) -> str:
        """Wait until all jobs have ended; what the command printed."""
        self.until("finished", lambda: self.process.poll() is not None)
        assert self.process.returncode == status, self.printed()
        return (self.folder / "printed").read_text()

    def requeued(self, job: str) -> None:
        """Wait until `job` has been stopped once and is in the queue again."""
        self.until("requeued", lambda: self.shown(job)["Restarts"] == "1")
        self.until("waiting", lambda: self.shown(job)["JobState"] == "PENDING")

    def finish_again(self, job: str) -> None:
        """Let a requeued `job` start at once, and wait until all have ended."""
        slurm("scontrol", "update", f"JobId={job}", "StartTime=now")
        self.finish()

    def output(self, number: int) -> Path:
        """The output folder of the sweep's job `number`."""
        (folder,) = self.folder.glob(f"multirun/*/*/{number}")
        return folder

    def log(self, job: str) -> str:
        """What a job has printed, all its starts."""
        return "".join(
            file.read_text() for file in sorted(self.folder.glob(f"multirun/*/*/.submitit/{job}/*_log.*"))
        )

    def shown(self, job: str) -> dict[str, str]:
        """What the controller says of a job: JobState, Restarts, ArrayTaskId, ..."""
        words = slurm("scontrol", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def completed(self, job: str) -> dict[str, str]:
        """`shown`, once SLURM too sees that the job has ended: a little after its result is there."""
        self.until(f"{job} completed", lambda: self.shown(job)["JobState"] == "COMPLETED")
        return self.shown(job)

    def printed(self) -> str:
        queue = slurm("squeue", "--long")
        logs = "".join(f"--- {job}\n{self.log(job)[-3000:]}" for job in self.jobs)
        return f"{(self.folder / 'printed').read_text()[-3000:]}\n{queue}\n{logs}"

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for job in {job.split("_")[0] for job in self.jobs}:
            subprocess.run(["scancel", job], capture_output=True, timeout=30, check=False)


Launch = Callable[..., Sweep]


@pytest.fixture
def launch(partition: str, talkative: Path, tmp_path: Path) -> Iterator[Launch]:
    """Launch `python run.py -m` on the tiny pair with these overrides; all of it is gone after the test."""
    sweeps: list[Sweep] = []
    (tmp_path / "gated.py").write_text(GATED)
    (tmp_path / "gated_engine.py").write_text(GATED_ENGINE)
    paths = [str(tmp_path), str(ROOT), str(ROOT / "tests/support"), os.environ.get("PYTHONPATH", "")]
    pair = [
        STRANGERS,
        "model=custom",
        f"model.target.path={talkative}/target",
        f"model.donors.a.path={talkative}/donor",
    ]
    small = [f"hydra.launcher.{key}" for key in ("cpus_per_task=1", "mem_gb=2", f"partition={partition}")]

    def start(*overrides: str, **variables: str) -> Sweep:
        command = [sys.executable, str(ROOT / "run.py"), "-m", *pair, "hydra/launcher=slurm", *small]
        with (tmp_path / "printed").open("wb") as printed:
            process = subprocess.Popen(
                [*command, *overrides],
                cwd=tmp_path,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | variables,
                stdout=printed,
                stderr=subprocess.STDOUT,
            )
        sweeps.append(Sweep(tmp_path, process))
        return sweeps[-1]

    yield start
    for sweep in sweeps:
        sweep.stop()


def check_merged(output: Path, models: Path, alpha: float) -> None:
    """The model in `output` is target and donor interpolated at alpha."""
    target, donor = (load_file(models / name / "model.safetensors") for name in ("target", "donor"))
    merged = load_file(output / "model/model.safetensors")
    assert sorted(merged) == sorted(target)
    expected = (1 - alpha) * target[TENSOR].double() + alpha * donor[f"language_model.{TENSOR}"].double()
    torch.testing.assert_close(merged[TENSOR].double(), expected, rtol=1e-6, atol=1e-7)
    kept = next(name for name in merged if "visual" in name)
    assert torch.equal(merged[kept], target[kept])
    recipe = json.loads((output / "model/adamms_recipe.json").read_text())
    assert recipe["coefficients"] == {"a": alpha}
    assert (output / "plan.json").exists()
    assert not [file.name for file in output.iterdir() if "partial" in file.name]


def test_a_multirun_is_a_job_array(launch: Launch, talkative: Path) -> None:
    alphas = (0.1, 0.5)
    sweep = launch("mode=merge", f"merge.alpha={','.join(map(str, alphas))}")
    jobs = sweep.started(len(alphas))
    sweep.finish()
    (array,) = {job.split("_")[0] for job in jobs}
    for number, alpha in enumerate(alphas):
        job = f"{array}_{number}"
        shown = sweep.completed(job)
        assert (shown["ArrayJobId"], shown["ArrayTaskId"]) == (array, str(number))
        assert (shown["Restarts"], shown["Requeue"]) == ("0", "1")
        assert (shown["NumCPUs"], shown["TimeLimit"], shown["JobName"]) == ("1", "01:00:00", "adamms")
        assert f"job_id={job}," in sweep.log(job)
        check_merged(sweep.output(number), talkative, alpha)


def _requeue(job: str) -> None:
    """As preemption without notice does: the processes are killed, the job goes back into the queue."""
    slurm("scontrol", "requeue", job)


def _give_notice(job: str) -> None:
    """As before a time limit: the program is told, and requeues itself."""
    slurm("scancel", "--signal=USR2", job)


# So short a limit that submitit takes any notice for the one before it.
SHORT = "hydra.launcher.timeout_min=5"


@pytest.mark.parametrize(
    ("interrupt", "overrides"), [(_requeue, []), (_give_notice, [SHORT])], ids=["preempted", "time limit"]
)
def test_a_job_that_is_requeued_in_the_middle_finishes(
    launch: Launch, talkative: Path, tmp_path: Path, interrupt: Callable[[str], None], overrides: list[str]
) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    gated = ["merge._target_=gated.Gated", f"+merge.gate={gate}"]
    sweep = launch("mode=merge", "merge.alpha=0.4", *gated, *overrides)
    (job,) = sweep.started()
    sweep.until("in the middle", lambda: any(sweep.folder.glob("multirun/*/*/0/.model.partial/*")))
    interrupt(job)
    sweep.requeued(job)
    assert not (sweep.output(0) / "model").exists()
    gate.unlink()
    sweep.finish_again(job)
    assert sweep.completed(job)["Restarts"] == "1"
    assert sweep.log(job).count("Starting with JobEnvironment") == 2
    check_merged(sweep.output(0), talkative, 0.4)


def test_a_setup_of_ones_own_keeps_the_jobs_processors(launch: Launch, talkative: Path) -> None:
    own = ["hydra.launcher.setup=['echo seen $SRUN_CPUS_PER_TASK $OMP_NUM_THREADS']"]
    own.append("hydra.launcher.cpus_per_task=2")
    sweep = launch("mode=merge", "merge.alpha=0.3", *own, OMP_NUM_THREADS="5")
    (job,) = sweep.started()
    sweep.finish()
    assert "seen 2 2" in sweep.log(job)
    check_merged(sweep.output(0), talkative, 0.3)


def test_a_users_mistake_in_a_job_is_one_message_here(launch: Launch) -> None:
    printed = launch("mode=merge", "merge.alpha=2").finish(status=2)
    assert printed.splitlines()[-1] == (
        "error: merge.alpha is 2; expected a number in [0, 1], the donor's share"
    )


def test_what_sbatch_refuses_is_one_message(launch: Launch) -> None:
    printed = launch("mode=merge", "hydra.launcher.partition=nowhere").finish(status=2)
    assert "Traceback" not in printed
    assert "error: sbatch: error: invalid partition specified: nowhere" in printed


def test_a_sweep_of_more_jobs_than_an_array_may_have_is_refused(launch: Launch) -> None:
    limit = int(re.findall(r"MaxArraySize\s*= (\d+)", slurm("scontrol", "show", "config"))[0])
    if limit > 100:
        pytest.skip(f"an array of this cluster may have {limit} jobs: composing as many takes minutes")
    alphas = ",".join(f"{place / 1000}" for place in range(limit + 1))
    printed = launch("mode=merge", f"merge.alpha={alphas}").finish(status=2)
    assert "Traceback" not in printed
    assert "error: sbatch: error: Batch job submission failed: Invalid job array specification" in printed


def test_a_gpu_job_asks_for_a_gpu(launch: Launch, talkative: Path) -> None:
    if "gpu" not in slurm("sinfo", "--noheader", "--format=%G"):
        pytest.skip("the cluster has no GPUs to ask for, not even one in name")
    sweep = launch("mode=merge", "merge.alpha=0.3", "hydra/launcher=slurm_gpu")
    (job,) = sweep.started()
    sweep.finish()
    assert "gpu:1" in json.dumps(sweep.completed(job))
    check_merged(sweep.output(0), talkative, 0.3)


GRID = (0.0, 0.2, 0.4)
PER_TASK, BATCH = 2, 4
ASKED = 8 * PER_TASK


@dataclass(frozen=True)
class Found:
    """A search on this machine: what it printed, and what it chose."""

    printed: str
    selection: str


@pytest.fixture
def search(talkative: Path, tmp_path: Path) -> Callable[..., Found]:
    """Search without SLURM, with these overrides."""

    def call(output: str, *overrides: str) -> Found:
        pair = [STRANGERS, f"model.target.path={talkative}/target", f"model.donors.a.path={talkative}/donor"]
        paths = [str(ROOT), str(ROOT / "tests/support"), os.environ.get("PYTHONPATH", "")]
        done = subprocess.run(
            [sys.executable, str(ROOT / "run.py"), "model=custom", *pair, f"output={output}", *overrides],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return Found(done.stdout + done.stderr, (tmp_path / output / "selection.json").read_text())

    return call


def settings(cache: Path) -> list[str]:
    """What the jobs and the search that follows must agree in."""
    return [
        *(f"cache={cache}", f"data.per_task={PER_TASK}", f"search.grid={list(GRID)}", "search.samples=null"),
        *("search.resamples=20", "evaluate=none", f"engine.batch_size={BATCH}", "engine.max_new_tokens=4"),
    ]


CANDIDATES = f"candidate={','.join(map(str, GRID))}"


def responded(sweep: Sweep, number: int) -> dict[str, float]:
    counts: dict[str, float] = json.loads((sweep.output(number) / "respond.json").read_text())
    return counts


def test_an_array_of_responds_and_a_search_that_generates_nothing(
    launch: Launch, search: Callable[..., Found], tmp_path: Path
) -> None:
    shared = [*settings(tmp_path / "cache"), "engine.accelerator=cpu"]
    sweep = launch("mode=respond", CANDIDATES, *shared)
    jobs = sweep.started(len(GRID))
    sweep.finish()
    assert len({job.split("_")[0] for job in jobs}) == 1
    for number, alpha in enumerate(GRID):
        assert responded(sweep, number) == {"candidate": alpha, "found": 0, "generated": ASKED}
    found = search("after", *shared)
    assert f"store: {len(GRID) * ASKED} answers were there, 0 were generated" in found.printed
    assert found.selection == search("alone", *shared, "store=null").selection


def test_a_respond_that_is_requeued_in_the_middle_goes_on_from_the_store(
    launch: Launch, search: Callable[..., Found], tmp_path: Path
) -> None:
    gate, log = tmp_path / "gate", tmp_path / "log"
    gate.touch()
    gated = "engine._target_=gated_engine.Gated"
    variables = {"GATE": str(gate), slow_engine.LOG: str(log)}
    sweep = launch("mode=respond", CANDIDATES, *settings(tmp_path / "cache"), gated, **variables)
    jobs = sweep.started(len(GRID))
    job = jobs[GRID.index(0.2)]

    def begun() -> list[str]:
        return [example for alpha, example in slow_engine.noted(log) if alpha == 0.2]

    sweep.until("in the middle", lambda: len(begun()) == 3 * BATCH)
    _requeue(job)
    sweep.requeued(job)
    assert not (sweep.output(1) / "respond.json").exists()
    gate.unlink()
    sweep.finish_again(job)
    assert responded(sweep, 1) == {"candidate": 0.2, "found": 2 * BATCH, "generated": ASKED - 2 * BATCH}
    again = [example for example, times in Counter(begun()).items() if times > 1]
    assert len(set(begun())) == ASKED
    assert again == begun()[2 * BATCH : 3 * BATCH]  # the batch in flight
    broken = "engine._target_=slow_engine.Broken"
    found = search("after", *settings(tmp_path / "cache"), broken)
    assert f"store: {len(GRID) * ASKED} answers were there, 0 were generated" in found.printed


def test_a_search_that_is_requeued_in_the_middle_goes_on_from_the_store(
    launch: Launch, search: Callable[..., Found], tmp_path: Path
) -> None:
    gate, log = tmp_path / "gate", tmp_path / "log"
    gate.touch()
    variables = {"GATE": str(gate), slow_engine.LOG: str(log)}
    shared = settings(tmp_path / "cache")
    sweep = launch("mode=search", "search.seed=0", *shared, "engine._target_=gated_engine.Gated", **variables)
    (job,) = sweep.started()
    sweep.until(
        "in the middle", lambda: sum(alpha == 0.2 for alpha, _ in slow_engine.noted(log)) == 3 * BATCH
    )
    _requeue(job)
    sweep.requeued(job)
    gate.unlink()
    sweep.finish_again(job)
    asked = Counter(slow_engine.noted(log))
    assert len(asked) == len(GRID) * ASKED
    assert sum(asked.values()) == len(GRID) * ASKED + BATCH  # the batch in flight
    undisturbed = search("alone", *shared, "engine._target_=slow_engine.Slow", "store=null")
    assert (sweep.output(0) / "selection.json").read_text() == undisturbed.selection

"""A search on a real language model: SmolLM2-135M-Instruct in an Idefics3 and in a LLaVA, made here.

    python tests/benchmarks/real_language.py [--folder FOLDER] [--engines transformers,vllm] [--quick]

Makes two multimodal models of different architectures over it, teaches each skills that the other lacks, on
real pictures and in sentences (`real_pictures`, `real_models`, `real_training`), and merges them by the
command line: map, discover, verify, the paper's search and the recommended one, in both engines. The last
table says what came out; it is FOLDER/table.txt, too. Every stage is kept: a benchmark that was killed goes
on where it stopped, and one that has ended only prints. --quick learns next to nothing: does it run?
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import torch
from real_models import check_packages, donor, target, write_language_model
from real_pictures import DONOR_TASKS, TARGET_TASKS, TASKS, write_questions
from real_table import plot, table
from real_training import Lessons, train

from adamms.checkpoint.writer import whole_folder
from adamms.demo.stages import StageCache
from adamms.system.whole_file import write_whole

VERSION = 1  # of the stages: raise it with any change in what is learned
RUN = Path(__file__).resolve().parents[2] / "run.py"
GRID = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Plan:
    """How much is learned and asked.

    Args:
        lessons: model -> what it learns.
        questions: of each task; the searches see them all, without their answers.
        grid: the alphas.
    """

    lessons: Mapping[str, Lessons]
    questions: int
    grid: tuple[float, ...]


_QUICK = Lessons(see=4, align=4, learn=2, each=8, batch=4, below=26, pictures=8)
_TARGET = Lessons(learn=160, below=14, apart=1.0, rates=(2e-3, 5e-3, 2e-4))
FULL = Plan({"target": _TARGET, "donor": Lessons()}, questions=24, grid=GRID)
QUICK = Plan({"target": replace(_QUICK, apart=1.0), "donor": _QUICK}, questions=1, grid=(0.0, 0.5, 1.0))
MODELS = {"target": (target, TARGET_TASKS), "donor": (donor, DONOR_TASKS)}
# All keep the same log-probabilities, so that the later ones find the first one's answers in the store.
SEARCHES = {
    "trusted": ("search=trusted", "search.logprobs=1", "evaluate=token_f1"),
    "paper": ("search=adamms", "search.logprobs=1", "evaluate=accuracy"),
    "paper_overlap": ("search=adamms", "search/difference=overlap", "search.logprobs=1", "evaluate=none"),
}
MAPS = {"map": ("plan.verify=true",), "discover": ("mapper=discover",)}


class Bench:
    """The stages in one folder, and how many seconds each took."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder, self.plan = folder.resolve(), plan

    @property
    def seconds(self) -> dict[str, float]:
        """Stage -> wall time, of the stages that have ended, in the order in which they did."""
        files = sorted((self.folder / "seconds").glob("*"), key=lambda file: file.stat().st_mtime_ns)
        return {file.name: float(file.read_text()) for file in files}

    def timed(self, stage: str, run: Callable[[], None]) -> None:
        print(f"{time.strftime('%H:%M:%S')} {stage}", flush=True)
        begin = time.perf_counter()
        run()
        write_whole(self.folder / "seconds" / stage, f"{time.perf_counter() - begin:.1f}")

    def make(self, name: str, fill: Callable[[Path], None]) -> Path:
        """The folder `name`, filled unless it is there; it is whole or absent."""
        folder = self.folder / name

        def run() -> None:
            with whole_folder(folder, 0) as partial:
                fill(partial)

        if not folder.exists():
            self.timed(name, run)
        return folder

    def model(self, name: str) -> Path:
        """The folder of a model that has learned its skills."""
        make, tasks = MODELS[name]
        language = self.folder / "language_model"

        folder = self.folder / name
        if not folder.exists():
            with whole_folder(folder, 0) as partial:
                torch.manual_seed(0)
                model = make(language)
                stages = StageCache(self.folder / "stages", VERSION)
                train(model, name, tasks, self.plan.lessons[name], stages, self.timed)
                model.save(partial)
        return folder

    def run(self, name: str, *overrides: str) -> Path:
        """`run.py` with these overrides, unless it has ended before: its output folder."""
        output = self.folder / "runs" / name
        stage = f"run {name}"
        if stage not in self.seconds:
            shutil.rmtree(output, ignore_errors=True)
            output.mkdir(parents=True)
            given = {"target": self.folder / "target", "donors.a": self.folder / "donor"}
            models = [f"model.{each}.path={folder}" for each, folder in given.items()]
            own = [f"output={output}", f"store={self.folder / 'answers'}", f"cache={self.folder / 'cache'}"]
            command = [sys.executable, str(RUN), "model=custom", *models, *own, *overrides]

            def run() -> None:
                with (output / "console.txt").open("w") as console:
                    ended = subprocess.run(command, stdout=console, stderr=subprocess.STDOUT, check=False)
                if ended.returncode:
                    said = (output / "console.txt").read_text()[-2000:]
                    sys.exit(f"{said}\nerror: failed: {' '.join(command)}")

            self.timed(stage, run)
        return output

    def whole(self, engines: list[str]) -> str:
        """Everything, in order; the table."""
        self.make("language_model", write_language_model)
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            list(pool.map(self.model, ("target", "donor")))
        asked = self.make("questions", lambda folder: write_questions(folder, self.plan.questions))
        maps = {name: self.run(name, "mode=plan", *some) for name, some in MAPS.items()}
        grid = ",".join(map(str, self.plan.grid))
        common = [
            "mode=search",
            "data=jsonl",
            f"data.path={asked / 'questions.jsonl'}",
            f"search.grid=[{grid}]",
        ]
        searches = {
            (engine, name): self.run(f"{engine}_{name}", *common, f"engine={engine}", *some)
            for engine in engines
            for name, some in SEARCHES.items()
        }
        text = table(maps, searches, self.seconds, len(self.plan.grid))
        write_whole(self.folder / "table.txt", text)
        skills = {"digits": TARGET_TASKS, "photographs, arithmetic": DONOR_TASKS, "all": TASKS}
        plot(searches, skills, self.folder / "curves.png")
        return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where all is kept; outputs/real_language by default")
    parser.add_argument("--engines", default="transformers,vllm", help="transformers, vllm, or both")
    parser.add_argument("--quick", action="store_true", help="tiny settings: does it run?")
    given = parser.parse_args()
    check_packages()
    os.environ |= {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}  # two models learn at once
    folder = given.folder or Path("outputs") / ("real_language_quick" if given.quick else "real_language")
    print(Bench(folder, QUICK if given.quick else FULL).whole(given.engines.split(",")))


if __name__ == "__main__":
    main()

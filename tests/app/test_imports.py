"""What a mode does not import: packages that take seconds and that it has no use for."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from command import ROOT, STRANGERS, Outcome
from processes import unknown

from adamms.merge import kernel

# Nothing but an engine, a tracker or a class of transformers has a use for these.
ENGINES = (
    "vllm", "wandb", "transformers", "lightning", "torchmetrics", "torchvision", "accelerate", "peft",
    "sentence_transformers", "sklearn", "scipy", "pandas", "matplotlib", "plotly", "gradio", "openpyxl",
    "cma", "numba", "sympy", "triton", "torch._dynamo", "torch.distributed.tensor", "httpx",
    "huggingface_hub.hf_api",
)  # fmt: skip
# Nor has --help for these.
WORK = ("torch", "numpy", "pydantic", "rich", "jinja2", "PIL", "tokenizers", "huggingface_hub", "safetensors")


def loaded(runs: Sequence[Sequence[str]], modules: Sequence[str], folder: Path) -> list[str]:
    """Which of `modules` are there after these command lines, one after the other in one new process."""
    assert not unknown(modules)
    code = """
import json, runpy, sys
runs, modules, program = json.loads(sys.argv[1])
for arguments in runs:
    sys.argv = [program, *arguments]
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as end:
        assert not end.code, end.code
print("\\n" + json.dumps([name for name in modules if name in sys.modules]))
"""
    given = json.dumps([runs, modules, str(ROOT / "run.py")])
    done = subprocess.run([sys.executable, "-c", code, given], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_help_imports_what_reads_the_configuration(tmp_path: Path) -> None:
    assert loaded([["--help"]], [*WORK, *ENGINES], tmp_path) == []


def test_a_plan_a_merge_and_a_search_in_logs_import_nothing_that_generates(
    qwen2: Path, tmp_path: Path
) -> None:
    """Of models that specs describe; a class of transformers costs seconds."""
    paths = [f"model.target.path={qwen2}", f"model.donors.a.path={qwen2}"]
    for number in range(3):
        log = f'{{"doc_id": 0, "resps": [["{number > 1}"]], "filtered_resps": ["{number > 1}"]}}\n'
        (tmp_path / f"{number}.jsonl").write_text(log)
    logs = ", ".join(f"0.{number}: {tmp_path / f'{number}.jsonl'}" for number in range(3))
    runs = [["mode=plan", *paths], ["mode=merge", *paths], ["engine=replay", f"engine.logs={{{logs}}}"]]
    own = ["model=custom", STRANGERS, f"hydra.run.dir={tmp_path / 'hydra'}"]
    given = [[*run, *own, f"output={tmp_path / str(number)}"] for number, run in enumerate(runs)]
    assert loaded(given, ENGINES, tmp_path) == []


# Nor has a plan or a linear merge for these: the doctor, a multirun, plan.verify and mapper=discover have.
OTHER_WORK = (
    "torch", "packaging.requirements", "adamms.report.compare.comparison", "adamms.mapping.checks.verify",
    "adamms.mapping.content.discover", "adamms.mapping.content.blocks",
)  # fmt: skip


def test_a_plan_and_a_linear_merge_need_neither_torch_nor_what_other_runs_do(
    qwen2: Path, tmp_path: Path
) -> None:
    """It compares a sample of the weights, and so is not made from headers alone."""
    paths = [
        f"model.target.path={qwen2}",
        f"model.donors.a.path={qwen2}",
        f"hydra.run.dir={tmp_path / 'hydra'}",
    ]
    runs = [
        [f"mode={mode}", "model=custom", *paths, f"output={tmp_path / mode}"] for mode in ("plan", "merge")
    ]
    needed = [] if kernel.LIBRARY else ["torch"]  # which merges where no library was built from this kernel.c
    assert loaded(runs, OTHER_WORK, tmp_path) == needed
    assert "equal to the target" in (tmp_path / "plan/plan.json").read_text()
    assert (tmp_path / "merge/model/model.safetensors").is_file()


def test_nor_does_what_follows_a_plan_of_models_that_classes_describe(
    run: Callable[..., Outcome], qwen2_vl: Path, onevision_fresh: Path, tmp_path: Path
) -> None:
    """The same plan, read from what the classes said the first time."""
    paths = [f"model.target.path={qwen2_vl}", f"model.donors.a.path={onevision_fresh}", "model=custom"]
    assert run("mode=plan", *paths, "output=first").status == 0
    own = [*paths, STRANGERS, f"cache={tmp_path / 'cache'}", f"hydra.run.dir={tmp_path / 'hydra'}"]
    modes = [[f"mode={mode}", *own, f"output={tmp_path / mode}"] for mode in ("plan", "merge")]
    assert loaded(modes, ENGINES, tmp_path) == []
    plans = [tmp_path / folder / "plan.json" for folder in ("work/first", "plan", "merge")]
    assert len({plan.read_bytes() for plan in plans}) == 1


def test_a_config_is_completed_without_the_classes_that_generate(qwen2: Path) -> None:
    """transformers imports them for the docs of its config classes."""
    code = """
import sys
from pathlib import Path
from adamms.checkpoint.reader import open_checkpoint
from adamms.mapping.language_config import completed
assert "max_window_layers" in completed(open_checkpoint(Path(sys.argv[1])))
print([name for name in ("transformers.models.auto.auto_factory", "torch._dynamo") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code, str(qwen2)], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[]\n", done.stderr

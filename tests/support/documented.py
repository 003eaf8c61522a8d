"""The commands of the pages, as Python is given them, and where the tests run each."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from command import CONF, ROOT
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "sweeps/README.md"]
GROUPS = sorted(
    {str(file.parent.relative_to(CONF)) for file in CONF.rglob("*.yaml") if file.parent != CONF}, key=len
)
PYTHON = re.compile(r"(\S*/)?python")

ELSEWHERE = {  # a command that has this -> the file whose tests run it
    "=tern.yaml": "tests/test_docs.py",
    "engine.logs=LOGS": "tests/app/test_table1.py",
    "-cd my_conf mode=merge merge=mine": "tests/test_installed.py",
    "/shared/[AB]": "tests/test_cluster_page.py",
    "=LORA1|extract .*model_folder": "tests/app/modes/test_extract.py",
    "recipe=": "tests/app/recipes/test_recipe_file.py",
    "MMStar.xlsx": "tests/engines/logs/test_replay.py",
    "-cn optmerge|vicuna_modalities": "tests/app/test_optmerge.py",
    "merge/rules=": "tests/app/test_run_coefficients.py",
    "experiment=reasoner model=(?!custom)": "tests/test_conf.py",
}
NOT_RUN = {  # a command that has this -> why
    "-cn (pairs|table1) .*slurm_gpu": "the tables on a cluster of GPUs; test_sweeps composes all jobs",
    r"evaluate=\[?(lmms_eval|vlmevalkit)": "tasks that download their data; others run in tests/evaluate",
    "Qwen3-VL-235B": "two nodes of eight GPUs; test_cluster_page hands the script to sbatch",
}
LEFT = re.compile(r"mode\.folder=|model_folder=")  # needs what an earlier command has left
FLAGS = {"--help", "--info", "--version", "-sc"}  # tests/app/test_terminal.py


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(text: str) -> str:
    """Indented and fenced lines, continued ones joined; and inline code, each on a line of its own."""
    fence = re.compile(r"^```.*\n((?:.*\n)*?)^```", flags=re.MULTILINE)
    fenced, outside = "".join(fence.findall(text)), fence.sub("", text)
    indented = "\n".join(re.findall(r"^    (.*)", outside, flags=re.MULTILINE))
    inline = re.findall(r"`([^`]+)`", re.sub(r"^    .*", "", outside, flags=re.MULTILINE))
    code = re.sub(r"\\\n\s*", "", f"{fenced}\n{indented}")
    return "\n".join([code, *(" ".join(part.split()) for part in inline)])


def words(line: str) -> list[str]:
    """As the shell splits the line, without its comment; [] if it is no line of a shell."""
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return []


def commands(page: Path) -> Iterator[list[str]]:
    """What is given to Python: everything after the interpreter; of `adamms` what run.py would be given."""
    for line in blocks(page.read_text()).splitlines():
        found = words(line)
        if len(found) > 1 and PYTHON.fullmatch(found[0]):
            yield found[1:]
        elif len(found) > 1 and found[0] == "adamms" and re.match(r"-|.*=", found[1]):
            yield ["run.py", *found[1:]]


def jobs(overrides: list[str]) -> Iterator[list[str]]:
    """As few as have every value that `values` picks of every sweep."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    choices = [values(each) for each in parsed if each.key_or_group != "output"]
    for number in range(max(map(len, choices), default=1)):
        yield [found[number % len(found)] for found in choices]


def values(override: Override) -> list[str]:
    """All options of a group; of a key the first value and the last."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    found = [f"{override.key_or_group}={value}" for value in override.sweep_string_iterator()]
    return found if override.key_or_group in GROUPS else [found[0], found[-1]]


def arguments(command: list[str]) -> tuple[str, str, bool, list[str]]:
    """(config folder, config, whether it is a multirun, overrides) of what follows `run.py`."""
    folder, config, multirun, overrides = "conf", "config", False, []
    rest = iter(command)
    for word in rest:
        if word == "-cd":
            folder = next(rest)
        elif word == "-cn":
            config, multirun = next(rest), True  # as each recipe says of itself
        elif word == "-m":
            multirun = True
        elif word != "...":
            overrides.append(word)
    return folder, config, multirun, overrides


def recipe(config: str, overrides: list[str]) -> list[str]:
    """The first value of what a recipe varies, where it is not overridden; test_sweeps has all of them."""
    varied = params(config) if config != "config" else {}
    chosen = {override.partition("=")[0] for override in overrides}
    return [f"{key}={values.split(',')[0]}" for key, values in varied.items() if key not in chosen]


def params(recipe: str) -> dict[str, str]:
    """What the recipe varies: key -> values, as Hydra's sweeper takes them."""
    content = OmegaConf.load(ROOT / f"sweeps/{recipe}.yaml")
    assert isinstance(content, DictConfig)
    assert content.hydra.mode == "MULTIRUN"
    return {str(key): str(value) for key, value in content.hydra.sweeper.params.items()}


def joined(command: list[str]) -> str:
    """On one line, without what stands for more."""
    return shlex.join(word for word in command if word != "...")


def documented() -> dict[str, str]:
    """All commands, each once -> its page; those on what others have left come last."""
    found: dict[str, str] = {}
    for page in (page for page in PAGES if page.stem != "changes"):
        for script, *command in commands(page):
            if script == "run.py" and not FLAGS & {*command}:
                found.setdefault(joined(command), name(page))
    return dict(sorted(found.items(), key=lambda each: LEFT.search(each[0]) is not None))


def elsewhere(command: str) -> str:
    """Where it runs, or why it does not; "" if here."""
    return next((why for has, why in (NOT_RUN | ELSEWHERE).items() if re.search(has, command)), "")

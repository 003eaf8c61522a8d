"""The documentation is true: its commands compose, its names exist, its links resolve, its example works."""

import ast
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
import test_layers
import tiny
import torch
import yaml
from command import CONF, ROOT, Outcome
from documented import (
    FLAGS,
    GROUPS,
    PAGES,
    arguments,
    blocks,
    commands,
    jobs,
    name,
    recipe,
    words,
)
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file

from adamms.app.merges import check_merge
from adamms.app.settings import read
from adamms.engines.logs.replay import Replay

pytestmark = pytest.mark.long

FILES = (".html", ".json", ".jsonl", ".md", ".py", ".safetensors", ".yaml")


# Commands ------------------------------------------------------------------------------------------------


def composed() -> set[tuple[str, str, tuple[str, ...]]]:
    """All jobs of all pages as written, each once: config folder, config, overrides."""
    found: set[tuple[str, str, tuple[str, ...]]] = set()
    for page in PAGES:
        for script, *command in commands(page):
            if script != "run.py" or FLAGS & {*command}:
                continue
            folder, config, multirun, overrides = arguments(command)
            if folder == "my_conf":  # of the reader's own: see test_installed
                continue
            every = list(jobs([*recipe(config, overrides), *overrides]))
            assert multirun or len(every) == 1, f"{name(page)}: {command} is a sweep without -m"
            found |= {(folder, config, tuple(sorted(job))) for job in every}
    return found


def check(config: DictConfig, overrides: Iterable[str]) -> None:
    """Everything that needs no file: what was set binds, and nothing that is needed lacks."""
    run = read(config)
    replayed = isinstance(run.engine, Replay)
    no_model = replayed or run.model_folder is not None
    lacking = {key for key in OmegaConf.missing_keys(config) if not (no_model and key.startswith("model."))}
    assert not lacking, f"it lacks {', '.join(sorted(lacking))}"
    if run.mode in ("search", "plan", "merge", "respond") and not replayed:
        check_merge(run)
    if run.mode == "search" and not replayed:
        run.strategy.check(run.grid)


def test_every_run_composes() -> None:
    """By Hydra itself, with the checks before any file is opened; test_docs_run makes what it runs small."""
    found = sorted(composed())
    assert len(found) > 50
    for folder in sorted({folder for folder, _, _ in found}):
        extra = [] if folder == "conf" else [f"hydra.searchpath=[file://{CONF}]"]
        with initialize_config_dir(str(ROOT / folder), version_base="1.3"):
            for _, config, overrides in (job for job in found if job[0] == folder):
                given = [*extra, "output=out", "cache=cache", *overrides]
                try:
                    whole = compose(config, given, return_hydra_config=True)
                    OmegaConf.set_struct(whole, False)
                    del whole["hydra"]
                    if whole.recipe is None:  # which is a file
                        check(whole, overrides)
                except Exception as error:
                    raise AssertionError(f"run.py {shlex.join(overrides)}: {error}") from error
    assert not GlobalHydra.instance().is_initialized()


# The first word of a line that is a command -> the file whose tests try it.
PROGRAMS = {
    **dict.fromkeys(("python", ".venv/bin/python", "adamms"), "tests/test_docs_run.py"),
    **dict.fromkeys(("make", "pip", "pre-commit"), "tests/test_docs.py"),
    **dict.fromkeys(("export", "hf", "tmux"), "tests/test_cluster_page.py"),
    "mkdocs": "tests/test_site.py",
    "wandb": "tests/test_wandb_sweeps.py",
}
# What is printed, in part of a file, or a sketch: it has this in it.
PRINTED = re.compile(
    r"─{5}|│|\d\.\d|^(error|warning|target|ok|absent|donor a)\b|^\[thought|^map  |: *$|, \.\.\.\)", re.M
)
CODE: dict[str, Callable[[str], object]] = {
    "python": ast.parse,
    "yaml": yaml.safe_load,
    "bash": lambda text: subprocess.run(["bash", "-n"], input=text, text=True, check=True),
    "mermaid": lambda text: re.fullmatch(r"flowchart TB\n(    .+\n)+", text) or 1 / 0,
}


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem != "changes"], ids=name)
def test_every_block_is_of_a_kind_that_is_tried(page: Path) -> None:
    """Commands of a program that a test knows, code that parses, or what is printed."""
    text = page.read_text()
    fence = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
    for kind, block in fence.findall(text):
        CODE[kind](block)
    indented = re.findall(r"(?:(?<=\n\n)|\A)((?:    .*\n|\n(?=    ))+)", fence.sub("", text))
    for block in re.split(r"\n\n+", re.sub("^    ", "", "\n".join(indented), flags=re.MULTILINE)):
        first = [line.split()[0] for line in re.sub(r"\\\n\s*", "", block).splitlines() if line.strip()]
        if block.startswith("#!/bin/bash\n"):
            CODE["bash"](block)
        elif first and first[0] in PROGRAMS:
            assert set(first) <= set(PROGRAMS), block
            assert all((ROOT / PROGRAMS[word]).is_file() for word in first)
        else:
            assert not first or PRINTED.search(block), f"neither a known program nor what it prints: {block}"


def parts_of(script: Path) -> list[Path]:
    """A script, and the modules beside it that it imports."""
    names = re.findall(r"^from (\w+) import", script.read_text(), re.MULTILINE)
    return [script, *(file for name in names if (file := script.with_name(f"{name}.py")).exists())]


def test_other_commands_exist() -> None:
    """Scripts and their options, markers and folders of tests, extras, targets of make."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    markers = [line.split(":")[0] for line in project["tool"]["pytest"]["ini_options"]["markers"]]
    targets: set[str] = set()
    for page in PAGES:
        for script, *rest in commands(page):
            if script.startswith("tests/"):
                text = "".join(file.read_text() for file in parts_of(ROOT / script))
                assert all(f'"{word}"' in text for word in rest if word.startswith("--")), (script, rest)
            elif script == "-m" and rest[0] == "pytest":
                assert rest[1] != "-m" or rest[2] in markers, rest
                assert all((ROOT / word).exists() for word in rest if word.startswith("tests/")), rest
        extras = set(re.findall(r"'\.\[([\w-]+)\]'", page.read_text()))
        assert extras <= set(project["project"]["optional-dependencies"]), name(page)
        found = (words(line) for line in blocks(page.read_text()).splitlines())
        targets |= {parts[1] for parts in found if len(parts) == 2 and parts[0] == "make"}
    done = subprocess.run(["make", "-n", *targets], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# Names ---------------------------------------------------------------------------------------------------


def keys() -> set[str]:
    """Every key of every option, under its group: 'merge.density'; and those without a group."""
    found: set[str] = set()

    def collect(node: object, place: str) -> None:
        if place:
            found.add(place)
        if isinstance(node, dict):
            for key, value in node.items():
                if key != "defaults":
                    collect(value, f"{place}.{key}".lstrip("."))

    for file in sorted(CONF.rglob("*.yaml")):
        package = re.search(r"^# @package (\S+)", file.read_text())
        place = package[1] if package else str(file.parent.relative_to(CONF)).replace("/", ".")
        content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        collect(content, "" if place in (".", "_global_") else place)
    return found | {"search.difference"}


def codes(page: Path) -> Iterator[str]:
    """The words of inline code."""
    for code in re.findall(r"`([^`\n]+)`", page.read_text()):
        yield from words(" ".join(code.split()))


def test_settings_and_files_exist() -> None:
    """`group=option`, `key=value`, `key.of.a.group` and paths of this repository, in text and tables."""
    known, wrong = keys(), []
    tops = {path.name for path in ROOT.iterdir() if path.is_dir()} - {".git", ".venv", "outputs", "multirun"}
    named = [(page, code) for page in PAGES if page.stem != "changes" for code in codes(page)]
    for page, code in named:
        if "/" in code and code.split("/")[0] in tops and code not in GROUPS and "=" not in code:
            wrong += [] if list(ROOT.glob(code.rstrip("/"))) else [(name(page), code)]
            continue
        match = re.fullmatch(r"([a-z_/]+(?:\.[a-z_]+)*)(?:=(.*))?", code)
        if match is None or code.endswith("...") or Path(code).suffix in FILES:
            continue
        key, value = re.sub(r"^model\.donors\.\w+", "model.donors.a", match[1]), match[2]
        if key in GROUPS and value:
            options = re.findall(r"[a-z]\w*", re.sub(r"[A-Z]{2,}", "", value))
            good = all((CONF / key / f"{option}.yaml").is_file() for option in options)
        elif value is not None or (key.partition(".")[0] in GROUPS and "." in key):
            good = key in known or key in GROUPS
        else:
            good = True
        wrong += [] if good else [(name(page), code)]
    assert not wrong


def test_tables_name_options_that_exist() -> None:
    """A table whose first column is headed `group=` lists that group's options; all modes have a row."""
    table = re.compile(r"^\| `([a-z/]+)=` .*\n\|[ -|]+\n((?:\|.*\n)+)", re.MULTILINE)
    listed: dict[str, set[str]] = {}
    for group, body in [found for page in PAGES for found in table.findall(page.read_text())]:
        for row in body.splitlines():
            listed.setdefault(group, set()).update(re.findall(r"`(\w+)`", row.split("|")[1]))
    for group, options in listed.items():
        assert options <= {file.stem for file in (CONF / group).glob("*.yaml")}, group
    assert listed["mode"] == {file.stem for file in (CONF / "mode").glob("*.yaml")}


def anchors(page: Path) -> set[str]:
    """The fragments that GitHub gives the page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_resolve_and_the_readme_leads_everywhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
            if not link.startswith("http"):
                file, _, anchor = link.partition("#")
                there = (page.parent / file).resolve() if file else page
                assert there.exists(), (name(page), link)
                assert not anchor or anchor in anchors(there), (name(page), link)
    links = re.findall(r"\]\(([^)#]+)", (ROOT / "README.md").read_text())
    assert {name(page) for page in PAGES[1:]} <= set(links)


def test_the_picture_of_the_packages_is_how_they_import() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    arrows = set(re.findall(r"^    (\w+) --> (\w+)$", text.partition("## Packages")[2], flags=re.MULTILINE))
    allowed = {
        (own, other.partition(".")[0])
        for own, others in test_layers.ALLOWED.items()
        for other in others
        if other not in ("errors", "sizes")  # which are one module each, and know nothing
    }
    assert arrows == allowed


def test_the_lint_before_a_commit_is_that_of_make() -> None:
    hooks = OmegaConf.to_container(OmegaConf.load(ROOT / ".pre-commit-config.yaml"))["repos"][0]["hooks"]
    [lint] = re.findall(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    commands = [line.strip().removeprefix("$(BIN)/") for line in lint.splitlines()]
    assert [hook["entry"] for hook in hooks] == commands


# The worked example --------------------------------------------------------------------------------------


def as_tern(state: tiny.State) -> tiny.State:
    """A Llama's weights in the names of the family that docs/models.md makes up."""
    found = {
        "transformer.wte.weight": state["model.embed_tokens.weight"],
        "transformer.ln_f.weight": state["model.norm.weight"],
        "head.weight": state["lm_head.weight"],
        "eyes.patch.weight": torch.ones(3, 2),
        "bridge.0.weight": torch.ones(3, 2),
    }
    for i in range(2):
        old, new = f"model.layers.{i}", f"transformer.h.{i}"
        qkv = [state[f"{old}.self_attn.{part}_proj.weight"] for part in "qkv"]
        found |= {
            f"{new}.ln_1.weight": state[f"{old}.input_layernorm.weight"],
            f"{new}.ln_2.weight": state[f"{old}.post_attention_layernorm.weight"],
            f"{new}.attn.qkv.weight": torch.cat(qkv),
            f"{new}.attn.out.weight": state[f"{old}.self_attn.o_proj.weight"],
        }
        found |= {
            f"{new}.mlp.{part}.weight": state[f"{old}.mlp.{part}_proj.weight"]
            for part in ("gate", "up", "down")
        }
    return found


def test_a_family_of_ones_own_merges_by_the_spec_in_the_page(
    run: Callable[..., Outcome], tmp_path: Path
) -> None:
    page, work = ROOT / "docs/models.md", tmp_path / "work"
    [text] = re.findall(r"^```yaml\n(.+?)^```", page.read_text(), re.M | re.DOTALL)
    planned, merging = [given for _, *given in commands(page) if any("tern.yaml" in word for word in given)]
    generator = torch.Generator().manual_seed(0)
    target = tiny.llama_state(0)
    # Keys and values of fewer heads than the queries, so that an equal split would be wrong.
    for key in [key for key in target if "k_proj" in key or "v_proj" in key]:
        target[key] = target[key][:3].clone()
    donor = {key: t + 0.1 * t.std() * torch.randn(t.shape, generator=generator) for key, t in target.items()}
    tiny.write_model(work / "A", target)
    b = tiny.write_model(work / "B", as_tern(donor), "TernForConditionalGeneration")
    config = json.loads((b / "config.json").read_text())
    (b / "config.json").write_text(json.dumps(config | {"num_attention_heads": 2, "num_key_value_heads": 1}))
    unknown = run(*(word for word in planned if "tern.yaml" not in word))
    assert unknown.status == 2
    assert "unknown architecture: config.json declares TernForConditionalGeneration, for which" in unknown.err

    (work / "tern.yaml").write_text(text.rsplit("\n", 2)[0] + "\n")
    lacking = run(*merging)
    assert lacking.status == 2
    assert "1 tensors are not described by the architecture 'tern', first 'bridge.0.weight'" in lacking.err

    (work / "tern.yaml").write_text(text)
    for command in (planned, [*merging, "merge.alpha=0.25"]):
        done = run(*command)
        assert done.status == 0, done.err
    merged = load_file(work / "OUT/model/model.safetensors")
    assert merged.keys() == target.keys()
    for key, tensor in merged.items():  # 0.75 and 0.25 are exact: one rounding from float64 to float32
        expected = 0.75 * target[key].double() + 0.25 * donor[key].double()
        assert torch.equal(tensor, expected.to(torch.float32)), key

"""Who may import whom: the direction of the layers, no cycles, and no heavy import before its time."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import adamms

ROOT = Path(adamms.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# Package -> what its modules may import, besides their own package. A dotted name is one module.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "system": {"errors"},
    "architectures": {"errors"},
    "checkpoint": {"errors", "system"},
    "data": {"errors", "system"},
    "mapping": {"errors", "system", "architectures", "checkpoint"},
    "merge": {"errors", "system", "mapping", "checkpoint", "architectures.roles"},
    "models": {"errors", "checkpoint.reader"},
    "engines": {"errors", "system", "merge", "data", "checkpoint", "models", "architectures.renaming"},
    "search": {
        "errors",
        "merge.candidate",
        "engines.answer",
        "engines.thought",
        "engines.words",
    },
    "evaluate": {
        "errors",
        "search.resampling",
        "data",
        "engines.answer",
        "engines.logs.folder",
        "engines.logs.table_rows",
        "engines.thought",
        "engines.words",
        "merge.candidate",
    },
    "report": {
        "merge.candidate",
        "errors",
        "checkpoint.hub.location",
        "checkpoint.side_files",
        "system",
        "data.example",
        "mapping.expression",
        "mapping.expression_text",
        "mapping.finding",
        "mapping.plan",
        "mapping.checks.distance",
        "search.choice",
        "evaluate.estimate",
        "evaluate.evaluation",
        "evaluate.foreign.results",
        "evaluate.lmms.results",
        "evaluate.vlmevalkit.results",
        "engines.answer",
        "engines.image",
        "engines.thought",
        "engines.video",
    },
    "demo": {"errors", "data", "models", "report.console"},
}
HEAVY = (
    "vllm",
    "wandb",
    "transformers",
    "lightning",
    "matplotlib",
    "cma",
    "jinja2",
    "sentence_transformers",
    "openpyxl",
    "peft",
    "datasets",
    "av",
    "gradio",
    "uvicorn",
)
# Only these see Hydra's configuration; they may import everything, and nothing imports them but each other.
TOP = {"app", "__main__"}


def module(file: Path) -> str:
    """'search.strategy', and '' for adamms/__init__.py."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").rstrip(".")


def imports(file: Path) -> Iterator[str]:
    """What of adamms a file imports, anywhere in it: modules where one exists, else names of packages."""
    modules = {module(path) for path in FILES}
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            base = node.module or ""
            names = [f"{base}.{alias.name}" for alias in node.names]
            names = [name if name.removeprefix("adamms.") in modules else base for name in names]
        else:
            continue
        for name in names:
            if name == "adamms":
                yield ""
            elif name.startswith("adamms."):
                yield name.removeprefix("adamms.")


def package(name: str) -> str:
    return name.split(".")[0]


def test_imports_go_in_the_agreed_direction() -> None:
    for file in FILES:
        own = package(module(file))
        if own in TOP:
            continue
        if own == "":  # offers functions, which it imports when they are called
            assert set(imports(file)) == {"app.functions"}
            continue
        assert own in ALLOWED, f"a new package: say in ALLOWED what {own} may import"
        for name in imports(file):
            allowed = name == "" or package(name) == own or {name, package(name)} & ALLOWED[own]
            assert allowed, f"{file.relative_to(ROOT)} imports adamms.{name}; {own} may not"


def test_there_are_no_cycles() -> None:
    """Among modules, so that none can ever be met half imported."""
    edges = {own: set(imports(file)) - {own} for file in FILES if (own := module(file))}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        if name in done:
            return
        for other in sorted(edges.get(name, ())):
            visit(other, (*path, name))
        done.add(name)

    for name in sorted(edges):
        visit(name, ())
    assert done >= set(edges)


def test_packages_have_no_cycle_either() -> None:
    edges = {name: {package(other) for other in allowed} for name, allowed in ALLOWED.items()}
    order: list[str] = []
    while len(order) < len(edges):
        free = [name for name in edges if name not in order and edges[name] <= set(order)]
        assert free, f"a cycle among {sorted(set(edges) - set(order))}"
        order += free


def test_folders_within_a_package_have_no_cycle() -> None:
    edges: dict[str, set[str]] = {}
    for file in FILES:
        own, *others = (module(file).rpartition(".")[0], *(name.rpartition(".")[0] for name in imports(file)))
        edges.setdefault(own, set()).update(other for other in others if "." in other and other != own)
    TopologicalSorter({own: found for own, found in edges.items() if "." in own}).prepare()  # else an error


def test_configuration_stops_at_the_door() -> None:
    for file in FILES:
        if package(module(file)) in TOP:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                assert name.split(".")[0] not in ("hydra", "omegaconf"), file


def test_no_heavy_package_is_loaded_before_it_is_used() -> None:
    """By any module but those that one class alone imports, when it is used."""
    late = (
        "demo.",
        "engines.askable",
        "engines.prompt",
        "engines.template_process",
        "engines.transformers.live_",
        "engines.vllm.process",
        "engines.vllm.transfer",
        "engines.vllm.worker",
        "evaluate.lmms.guest",
        "evaluate.vlmevalkit.guest",
        "models.",
        "report.page.",
    )
    names = [name for file in FILES if (name := module(file)) and not name.startswith(late)]
    code = (
        f"import importlib, sys\nfor name in {names!r}: importlib.import_module('adamms.' + name)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"

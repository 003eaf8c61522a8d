"""The search cannot see labels: there is no path by which one could reach it."""

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path

from strategies import chosen, paper

import adamms
from adamms.data.example import Dataset, Example, Label
from adamms.merge.candidate import Candidate

ROOT = Path(adamms.__file__).parent
BLIND = sorted([*(ROOT / "search").rglob("*.py"), *(ROOT / "engines").rglob("*.py")])
UNLABELLED = {f"adamms.data.example.{name}" for name in ("Example", "Video", "Medium")}
UNLABELLED |= {f"adamms.data.pictures.{name}" for name in ("BEGINNINGS", "VIDEO")}  # formats of files
LABEL_WORDS = {"answers", "references", "labels", "truth", "truths"}


def test_an_example_has_no_field_for_an_answer() -> None:
    assert [field.name for field in dataclasses.fields(Example)] == [
        "id",
        "task",
        "question",
        "image",
        "where",
        "more_images",
        "video",
    ]
    assert "answers" in {field.name for field in dataclasses.fields(Dataset)}  # where they are instead


def test_nothing_in_search_and_engines_imports_what_holds_labels() -> None:
    nodes = [(file, node) for file in BLIND for node in ast.walk(ast.parse(file.read_text()))]
    for file, node in nodes:
        imported = []
        if isinstance(node, ast.ImportFrom):
            imported = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        for name in imported:
            assert not name.startswith("adamms.evaluate"), file
            assert not name.startswith("adamms.data") or name in UNLABELLED, file


def test_the_only_answers_there_are_the_models_own() -> None:
    """Nothing has an attribute that is named like labels."""
    for file in BLIND:
        nodes = ast.walk(ast.parse(file.read_text()))
        attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        assert not attributes & LABEL_WORDS, file


def test_the_search_loads_neither_data_nor_evaluation() -> None:
    code = (
        "import sys, adamms.search.strategy, adamms.search.coefficients\n"
        "print([m for m in sys.modules if m.startswith(('adamms.evaluate.', 'adamms.data'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_the_choice_is_the_same_whatever_the_labels() -> None:
    """A search takes answers and ids; the same answers under two labellings are the same input."""
    answers = {Candidate(i / 4): {"1": str(i // 2), "2": "x"} for i in range(5)}
    examples = (Example("1", "t", "q"), Example("2", "t", "q"))
    found = []
    for labels in ({"1": "0", "2": "x"}, {"1": "nothing", "2": "of this"}):
        data = Dataset("d", examples, {example: Label((text,)) for example, text in labels.items()})
        tasks = {"t": [example.id for example in data.examples]}
        found.append(chosen(paper(resamples=9), answers, tasks))
    assert found[0] == found[1]

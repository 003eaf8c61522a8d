"""The search cannot see labels: there is no path by which one could reach it."""

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

import adamms
from adamms.data.example import Dataset, Example
from adamms.engines.responses import Responses
from adamms.merge.candidate import Candidate
from adamms.search.difference import ExactMatch
from adamms.search.selection import ConsistencySelector

ROOT = Path(adamms.__file__).parent
BLIND = sorted([*(ROOT / "search").rglob("*.py"), *(ROOT / "engines").rglob("*.py")])
LABEL_WORDS = {"answers", "references", "labels", "truth", "truths"}


def test_an_example_has_no_field_for_an_answer() -> None:
    assert [field.name for field in dataclasses.fields(Example)] == ["id", "task", "question", "image"]
    assert "answers" in {field.name for field in dataclasses.fields(Dataset)}  # where they are instead


@pytest.mark.parametrize("file", BLIND, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_in_search_and_engines_imports_what_holds_labels(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        imported = []
        if isinstance(node, ast.ImportFrom):
            imported = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        for name in imported:
            assert not name.startswith("adamms.evaluate")
            assert not name.startswith("adamms.data") or name == "adamms.data.example.Example"


@pytest.mark.parametrize("file", BLIND, ids=lambda file: str(file.relative_to(ROOT)))
def test_the_only_answers_there_are_the_models_own(file: Path) -> None:
    """Attributes named like labels: `answers` of Responses alone, in the module that defines it."""
    attributes = {
        node.attr for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)
    }
    allowed = {"answers"} if file.name == "responses.py" else set()
    assert attributes & LABEL_WORDS <= allowed


def test_the_search_loads_neither_data_nor_evaluation() -> None:
    code = (
        "import sys, adamms.search.selection, adamms.search.candidates\n"
        "print([m for m in sys.modules if m.startswith(('adamms.evaluate', 'adamms.data'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_the_choice_is_the_same_whatever_the_labels() -> None:
    """Selection takes Responses and ids; the same answers under two labellings are the same input."""
    answers = Responses({Candidate(i / 4): {"1": str(i // 2), "2": "x"} for i in range(5)})
    examples = (Example("1", "t", "q"), Example("2", "t", "q"))
    chosen = []
    for labels in ({"1": "0", "2": "x"}, {"1": "nothing", "2": "of this"}):
        data = Dataset("d", examples, labels)
        tasks = {"t": [example.id for example in data.examples]}
        chosen.append(ConsistencySelector(ExactMatch(), resamples=9).select(answers, tasks))
    assert chosen[0] == chosen[1]

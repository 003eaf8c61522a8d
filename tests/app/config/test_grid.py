"""Searches over other numbers than alpha, and over several, from the command line."""

import json
import re
import shlex
from pathlib import Path

import pytest
from command import pair, read_run, write_jsonl
from page_text import Page

from adamms.app.settings import Run
from adamms.errors import AdammsError
from adamms.merge.candidate import Candidate

ROOT = Path(__file__).resolve().parents[3]
# A method with a number of its own, given as the methods of conf/merge are.
SCALED = [
    "merge._target_=scaled_linear.ScaledLinear",
    "+merge.strength=1.0",
    "+merge.mode=plain",
]
ONE = "search.grid={merge.strength: [0.7, 0.8, 0.9, 1.0]}"
TWO = "search.grid={merge.strength: [0.8, 0.9, 1.0], merge.alpha: [0.2, 0.4, 0.6, 0.8]}"


def configured(*overrides: str, donors: str = "{a: {path: D}}") -> Run:
    return read_run("model=custom", "model.target.path=T", f"+model.donors={donors}", *SCALED, *overrides)


@pytest.mark.parametrize("experiment", ["model=custom", "model=demo"])
def test_a_mapping_may_stand_where_a_list_does(experiment: str) -> None:
    run = configured(experiment, "search.grid={merge.alpha: [0, 0.3, 0.6]}")
    assert run.grid == (Candidate(0), Candidate(0.3), Candidate(0.6))
    assert run.grid == configured(experiment, "search.grid=[0, 0.3, 0.6]").grid


def test_the_papers_grid_is_the_default() -> None:
    found = configured("experiment=paper_qwen2vl").grid
    assert found == tuple(Candidate(alpha) for alpha in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6))
    assert len(configured("model=demo").grid) == 11


def test_every_candidate_gets_a_method_of_its_own() -> None:
    run = configured("search.grid={merge.strength: [0.5, 0.6], merge.alpha: [0.1, 0.2]}")
    found = [run.merge.at(candidate) for candidate in run.grid]
    assert [(m.method.strength, m.alpha) for m in found] == [  # type: ignore[attr-defined]
        *((0.5, 0.1), (0.5, 0.2), (0.6, 0.1), (0.6, 0.2))
    ]
    assert run.merge.method.strength == 1.0  # type: ignore[attr-defined]
    assert run.merge.alpha == 0.3


def test_shares_and_weights_of_single_donors_are_numbers_too() -> None:
    donors = "{a: {path: D}, b: {path: E}}"
    grid = "search.grid={merge.weights.a: [1, 2]}"
    run = configured("merge.weights={a: 1, b: 1}", grid, donors=donors)
    assert [run.merge.at(c).weights for c in run.grid] == [{"a": 1, "b": 1}, {"a": 2, "b": 1}]
    run = configured("merge.alpha={a: 0.1, b: 0.2}", "search.grid={merge.alpha.a: [0, 0.4]}", donors=donors)
    assert [run.merge.at(c).alpha for c in run.grid] == [{"a": 0, "b": 0.2}, {"a": 0.4, "b": 0.2}]
    assert str(run.grid[1]) == "alpha.a=0.4"


BAD = {
    "{merge.strenght: [0.5]}": r"unknown key 'merge\.strenght'; the numbers of merge are merge\.alpha, "
    r"merge\.strength\. Nearest: merge\.strength",
    "{strength: [0.5]}": r"unknown key 'strength'; .*Nearest: merge\.strength",
    "{merge.mode: [1, 2]}": r"merge\.mode is 'plain', which is no number; the numbers of merge are merge\.al",
    "{merge.strength: 0.5}": r"merge\.strength is 0\.5; expected a list of numbers",
    "{merge.strength: [0.5, much]}": r"merge\.strength is \[0\.5, 'much'\]; expected numbers",
    "{merge.strength: [0.5, 0.4]}": "expected increasing numbers",
    "{merge.strength: [0.5, 1, 2]}": r"strength=2: merge\.strength is 2\.0; expected a number in \(0",
    "{merge.strength: [0.5], merge.alpha: [0.5, 2]}": "alpha is 2; expected a number in",
    "{merge.weights: [1, 2]}": r"weights=1: merge\.weights is 1; expected \{donor name: number\}",
    "{merge.method.strength: [0.7]}": r"unknown key 'merge\.method\.strength'; .*Nearest: merge\.strength",
    "{}": "search.grid has no axes",
    "much": "search.grid is 'much'; expected alphas",
}


@pytest.mark.parametrize("given", BAD)
def test_a_grid_that_cannot_be_merged_is_refused_before_a_model_is_looked_for(given: str) -> None:
    with pytest.raises(AdammsError, match=BAD[given]):
        configured(f"search.grid={given}")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{merge.strenght: 0.5}", r"candidate: unknown key 'merge\.strenght'; .*Nearest: merge\.strength"),
        ("{merge.strength: [0.5]}", r"candidate: merge\.strength is \[0\.5\]; expected a number"),
        ("{merge.alpha: 2}", r"candidate: merge\.alpha is 2; expected a number in \[0, 1\]"),
        ("{}", r"candidate is \{\}; expected an alpha, or \{key of merge: value\}"),
    ],
)
def test_a_candidate_that_cannot_be_merged_is_refused(given: str, message: str) -> None:
    with pytest.raises(AdammsError, match=message):
        configured("mode=respond", f"candidate={given}")


def test_alpha_by_donor_cannot_be_searched_but_other_numbers_can() -> None:
    with pytest.raises(AdammsError, match=r"merge\.alpha gives every donor its share"):
        configured("merge.alpha={a: 0.2}", TWO)
    assert len(configured("merge.alpha={a: 0.2}", ONE).grid) == 4


# ---------------------------------------------------------------- whole runs


def search(folder: Path, models: Path, file: Path, *more: str) -> list[str]:
    return [
        *("mode=search", *pair(models), "data=jsonl", f"data.path={file}", *SCALED, f"output={folder}"),
        *("engine.max_new_tokens=4", "engine.accelerator=cpu", "evaluate.donors=false", *more),
    ]


def commands(page: Page) -> list[str]:
    """Those that merge the winners of single tasks."""
    return re.findall(r"^(python run\.py mode=merge .+?)  # ", "\n".join(page.code), re.MULTILINE)


def test_a_search_over_another_number_ends_like_one_over_alpha(run, talkative: Path, tmp_path: Path) -> None:
    file, out = write_jsonl(tmp_path, per_task=2), tmp_path / "out"
    store = f"store={tmp_path / 'store'}"
    responded = run(
        *search(tmp_path / "one", talkative, file, store, "mode=respond", "merge.alpha=0.4"),
        "candidate={merge.strength: 0.9}",
    )
    assert responded.status == 0, responded.err
    record = json.loads((tmp_path / "one/respond.json").read_text())
    assert record == {"candidate": {"merge.strength": 0.9}, "found": 0, "generated": 16}
    done = run(*search(out, talkative, file, store, ONE, "merge.alpha=0.4"))
    assert done.status == 0, done.err
    assert "store: 16 answers were there" in done.out
    overall = json.loads((out / "selection.json").read_text())["overall"]
    assert set(overall["differences"]) == {"strength=0.8", "strength=0.9"}
    chosen = overall["candidate"]["merge.strength"]
    assert overall["differences"][f"strength={chosen}"] == min(overall["differences"].values())
    recipe = json.loads((out / "model/adamms_recipe.json").read_text())
    assert recipe["method"] == {"name": "scaled_linear", "parameters": {"strength": chosen, "mode": "plain"}}
    assert recipe["coefficients"] == {"a": 0.4}
    evaluation = json.loads((out / "evaluation.json").read_text())
    assert list(evaluation["candidates"]) == [f"strength={value}" for value in (0.7, 0.8, 0.9, 1)]
    assert evaluation["target"]["tasks"].keys() == evaluation["candidates"]["strength=1"]["tasks"].keys()
    answers = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    assert len({tuple(line["answers"].values()) for line in answers}) > 1
    assert len({json.dumps([line["answers"][key] for line in answers]) for key in answers[0]["answers"]}) > 1
    page = Page(out / "report.html")
    assert "fixed, no search" not in page.text
    assert re.search(rf"strength={chosen}\S* was chosen", page.text)
    assert not [line for line in done.out.splitlines() if len(line) > 80 and "/" not in line]
    wanted = next(line for line in commands(page) if line.endswith(f" merge.strength={chosen}"))
    assert " merge.alpha=0.4 " in wanted
    again = run(*shlex.split(wanted)[2:], f"output={tmp_path / 'again'}")
    assert again.status == 0, again.err
    assert (tmp_path / "again/model/adamms_recipe.json").read_bytes() == (
        out / "model/adamms_recipe.json"
    ).read_bytes()


@pytest.mark.parametrize("merge", ["ties", "dare_linear"])
def test_a_published_methods_number_is_searched(run, talkative: Path, tmp_path: Path, merge: str) -> None:
    """What each density measures of the models is its own: the winner's bytes are those of a plain merge."""
    file, out = write_jsonl(tmp_path, per_task=1), tmp_path / "out"
    models = [*pair(talkative), f"model.ancestor.path={talkative / 'ancestor'}", f"merge={merge}"]
    grid = "search.grid={merge.density: [0.1, 0.4, 0.7, 1.0]}"
    done = run(
        *("mode=search", *models, "data=jsonl", f"data.path={file}", f"output={out}", grid),
        *("engine.max_new_tokens=4", "engine.accelerator=cpu", "evaluate=none"),
    )
    assert done.status == 0, done.err
    chosen = json.loads((out / "selection.json").read_text())["overall"]["candidate"]["merge.density"]
    assert chosen in (0.4, 0.7)
    plain = run("mode=merge", *models, f"merge.density={chosen}", f"output={tmp_path / 'plain'}")
    assert plain.status == 0, plain.err
    for name in ("model.safetensors", "adamms_recipe.json"):
        assert (out / "model" / name).read_bytes() == (tmp_path / "plain/model" / name).read_bytes()


def test_a_search_over_two_axes(run, talkative: Path, tmp_path: Path) -> None:
    file, out = write_jsonl(tmp_path, per_task=1), tmp_path / "out"
    done = run(*search(out, talkative, file, TWO))
    assert done.status == 0, done.err
    assert not [line for line in done.out.splitlines() if len(line) > 80 and "/" not in line]
    overall = json.loads((out / "selection.json").read_text())["overall"]
    assert list(overall["differences"]) == ["strength=0.9, alpha=0.4", "strength=0.9, alpha=0.6"]
    recipe = json.loads((out / "model/adamms_recipe.json").read_text())
    assert recipe["method"]["parameters"]["strength"] == overall["candidate"]["merge.strength"] == 0.9
    assert recipe["coefficients"] == {"a": overall["candidate"]["merge.alpha"]}
    evaluation = json.loads((out / "evaluation.json").read_text())
    assert len(evaluation["candidates"]) == 12
    assert "target" in evaluation
    page = Page(out / "report.html")
    assert "Over every two axes of the grid" in page.text
    assert not (out / "model/search.png").exists()
    for line in commands(page):
        assert re.search(r" merge\.strength=0\.9 merge\.alpha=0\.[46]$", line)


def test_a_mapping_over_alpha_writes_what_the_list_writes(run, talkative: Path, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path, per_task=1)
    store = f"store={tmp_path / 'store'}"
    for name, grid in (("list", "[0, 0.4, 0.8]"), ("mapping", "{merge.alpha: [0, 0.4, 0.8]}")):
        done = run(*search(tmp_path / name, talkative, file, store, f"search.grid={grid}"))
        assert done.status == 0, done.err
    for name in ("selection.json", "evaluation.json", "answers.jsonl", "model/adamms_recipe.json"):
        assert (tmp_path / "list" / name).read_bytes() == (tmp_path / "mapping" / name).read_bytes()
    evaluation = json.loads((tmp_path / "list/evaluation.json").read_text())
    assert list(evaluation["candidates"]) == ["0", "0.1", "0.4", "0.8"]
    assert "target" not in evaluation


def test_the_target_is_asked_on_its_own_where_alpha_0_is_another_model(
    run, talkative: Path, tmp_path: Path
) -> None:
    """Its answers are those of the target, although the live model was merged before."""
    file = write_jsonl(tmp_path, per_task=2)
    scored = {}
    for name, strength in (("plain", 1.0), ("scaled_linear", 0.8)):
        out = tmp_path / name
        more = ["search.grid=[0, 0.4, 0.8]", f"merge.strength={strength}", "store=null"]
        done = run(*search(out, talkative, file, *more))
        assert done.status == 0, done.err
        scored[name] = json.loads((out / "evaluation.json").read_text())
    assert scored["scaled_linear"]["target"] == scored["plain"]["candidates"]["0"]
    assert "target" not in scored["plain"]
    page = Page(tmp_path / "scaled_linear/report.html")
    models = [row[0] for row in page.tables["Scores (accuracy, %) by labels that the search never saw"]]
    assert "0 target" not in models
    assert "target" in models

"""Several coefficients from the command line: searched on real models, written, told of, and merged again."""

import io
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command import Outcome, pair, read_run, write_jsonl
from page_text import Page
from safetensors.torch import load_file
from slow_engine import SlowEngine
from test_grid import commands

from adamms.app.asker import Asker
from adamms.app.modes.common import map_models
from adamms.app.settings import Run
from adamms.data.example import Example
from adamms.errors import AdammsError
from adamms.merge.candidate import ALPHA, Candidate
from adamms.report.console import Console
from adamms.search.candidates import Axis

ATTN = "merge.rules.attn.factor"
RULES = "merge.rules={attn: {roles: [attn], factor: 1.0}, late: {layers: [1, 1], factor: 1}}"
SPACE = "search.space={merge.alpha: [0, 1], merge.rules.attn.factor: [0, 2]}"


def configured(*overrides: str, donors: str = "{a: {path: D}, b: {path: E}}") -> Run:
    models = ["model=custom", "model.target.path=T", f"+model.donors={donors}", "search=coefficients"]
    return read_run(*models, *overrides)


def test_the_space_is_all_that_has_a_key() -> None:
    ends = "ends: {match: x, factor: [0, 1]}"
    ruled = f"merge.rules={{attn: {{roles: [attn], factor: 0.5}}, rest: {{alpha: 0.1}}, {ends}}}"
    found = configured(ruled, "merge.weights={a: 1, b: 0.5}")
    assert found.strategy.space == {  # type: ignore[attr-defined]
        ALPHA: Axis(0, 1, 0.3),
        ATTN: Axis(0, 2, 0.5),
        "merge.rules.rest.alpha": Axis(0, 1, 0.1),
        "merge.weights.a": Axis(0, 2, 1),
        "merge.weights.b": Axis(0, 2, 0.5),
    }
    assert configured(ruled, SPACE).strategy.space == {  # type: ignore[attr-defined]
        ALPHA: Axis(0, 1, 0.3),
        ATTN: Axis(0, 2, 0.5),
    }


def test_layer_recipes_have_keys() -> None:
    alone = configured("merge/rules=thirds", donors="{a: {path: D}}").strategy.space  # type: ignore[attr-defined]
    assert list(alone) == [
        ALPHA,
        *(f"merge.rules.{name}.factor" for name in ("early", "middle", "late", "rest")),
    ]
    both = configured("merge/rules=early_a_late_b").strategy.space  # type: ignore[attr-defined]
    assert both["merge.rules.early.weights.b"] == Axis(0, 2, 0)
    assert len(both) == 7


def test_donors_weights_and_named_rules_become_merges() -> None:
    config = configured(RULES, "merge.weights={a: 1, b: 1}")
    candidate = Candidate(0.4, (("merge.weights.a", 0.5), (ATTN, 1.5)))
    merging = config.merge.at(candidate)
    assert merging.weights == {"a": 0.5, "b": 1}
    assert [rule.factor for rule in merging.rules] == [1.5, 1]
    assert candidate.overrides == f"{ATTN}=1.5 merge.weights.a=0.5 merge.alpha=0.4"
    typed = configured(RULES, "merge.weights={a: 1, b: 1}", *candidate.overrides.split())
    assert typed.merge == merging


START = "{merge.alpha: [0, 1], merge.rules.attn.factor: "
BAD = {
    "{merge.alpha: [0, 1]}": "expected at least 2 keys: name rules, merge.rules={attn:",
    "{merge.rules.atn.factor: [0, 2]}": "'merge.rules.atn.factor' is no coefficient; these are merge.alpha, "
    f"{ATTN}, merge.rules.late.factor. Nearest: {ATTN}",
    "{merge.alpha: [0, 1], merge.density: [0, 1]}": "'merge.density' is no coefficient",
    "{merge.alpha: [0, 2]}": "merge.alpha is [0, 2]; expected [lowest, highest], numbers in [0, 1]",
    f"{START}[2, 0]}}": f"{ATTN} is [2, 0]; expected [lowest, highest]",
    f"{START}[0, 0.5]}}": f"{ATTN} is [0, 0.5], but {ATTN}=1; the search starts from there",
    "[0, 1]": "search.space is [0, 1]; expected {key of merge: [lowest, highest]}",
}


@pytest.mark.parametrize("given", BAD)
def test_a_space_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(AdammsError, match=re.escape(BAD[given])):
        configured(RULES, f"search.space={given}")


def test_what_has_no_names_cannot_be_searched() -> None:
    with pytest.raises(
        AdammsError, match=r"search.space has merge.alpha; expected at least 2 keys: name rules"
    ):
        configured("merge.rules=[{roles: [attn], factor: 1.0}]")


def search(
    models: Path, folder: Path, out: Path, wish: float, strategy: str = "coefficients", late: bool = False
) -> list[str]:
    """With a signal by which the best factor of the attention, or of the late layers, is known."""
    key = "merge.rules.late.factor" if late else ATTN
    rules = "merge/rules=late" if late else RULES
    more = {
        "coefficients": [SPACE.replace(ATTN, key), "search.trials=12"],
        "trusted": ["search/signal=surest_parent"],
    }[strategy]
    return [
        *("mode=search", *pair(models), f"search={strategy}", "search.grid=[0, 0.4, 0.8]", rules, *more),
        *(
            "search.signal._target_=optimistic_signal.Wishful",
            "+search.signal.otherwise=1.0",
        ),
        *(f"+search.signal.key={key}", f"+search.signal.wish={wish}", "search.resamples=20"),
        *("data=jsonl", f"data.path={folder / 'data.jsonl'}", "engine.max_new_tokens=3", f"output={out}"),
        *("engine.accelerator=cpu", "evaluate.donors=false", f"store={folder / 'store'}"),
    ]


def test_a_search_that_finds_some_ends_like_any_other(
    run: Callable[..., Outcome], talkative: Path, tmp_path: Path
) -> None:
    write_jsonl(tmp_path, per_task=2)
    out = tmp_path / "out"
    # Where alpha is above 0.5 there is no merge with the factor that is wished for.
    done = run(*search(talkative, tmp_path, out, 2.0))
    assert done.status == 0, done.err
    overall = json.loads((out / "selection.json").read_text())["overall"]
    chosen, several = overall["candidate"], overall["several"]
    assert several["best"] == chosen
    assert several["single"] == 0.4  # all of the grid are equal: the middle
    assert 1.2 < chosen[ATTN] <= 2.0
    assert chosen[ATTN] * chosen[ALPHA] <= 1
    assert several["tried"] == 12
    assert (several["seen"], several["examples"]) == (8, 8)
    evaluation = json.loads((out / "evaluation.json").read_text())
    label = f"rules.attn.factor={chosen[ATTN]:.10g}, alpha={chosen[ALPHA]:g}"
    assert list(evaluation["candidates"]) == ["0", "0.4", "0.8", label]
    assert list(json.loads((out / "answers.jsonl").read_text().splitlines()[0])["answers"]) == [
        "0",
        "0.4",
        "0.8",
        label,
    ]

    page = Page(out / "report.html")
    for text in (" ".join(done.out.split()), page.text):
        assert "Several coefficients are better than alpha = 0.4: over 8 examples" in text
        assert f"several: {label}" in text
    assert not [line for line in done.out.splitlines() if len(line) > 80 and "/" not in line]
    assert len([row for row in page.tables["Time"] if row[0] == "search"]) == 1

    [wanted] = [line for line in commands(page) if ATTN in line]
    again = run(*shlex.split(wanted)[2:], f"output={tmp_path / 'again'}")
    assert again.status == 0, again.err
    for file in ("model.safetensors", "adamms_recipe.json"):
        assert (tmp_path / "again/model" / file).read_bytes() == (out / "model" / file).read_bytes()


def test_a_layer_recipe_is_searched(run: Callable[..., Outcome], talkative: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path, per_task=2)
    out = tmp_path / "out"
    done = run(*search(talkative, tmp_path, out, 2.0, late=True))
    assert done.status == 0, done.err
    chosen = json.loads((out / "selection.json").read_text())["overall"]["candidate"]
    assert chosen["merge.rules.late.factor"] > 1.2
    merged, target = (
        load_file(folder / "model.safetensors") for folder in (out / "model", talkative / "target")
    )
    changed = {name for name, tensor in merged.items() if not torch.equal(tensor, target[name])}
    assert changed
    assert all(name.startswith(("model.layers.2.", "model.layers.3.")) for name in changed)


def test_a_search_that_finds_none_says_so_and_ends_as_without_it(
    run: Callable[..., Outcome], talkative: Path, tmp_path: Path
) -> None:
    write_jsonl(tmp_path, per_task=2)
    for name in ("coefficients", "trusted"):
        done = run(*search(talkative, tmp_path, tmp_path / name, 1.0, name), "evaluate=none")
        assert done.status == 0, done.err
        said = "no better than alpha = 0.4: over the 8 examples that the optimiser saw, none of 12 candidates"
        assert (said in " ".join(done.out.split())) == (name == "coefficients")
    for file in ("model/model.safetensors", "model/adamms_recipe.json", "answers.jsonl"):
        assert (tmp_path / "coefficients" / file).read_bytes() == (tmp_path / "trusted" / file).read_bytes()
    several, alone = (
        json.loads((tmp_path / name / "selection.json").read_text()) for name in ("coefficients", "trusted")
    )
    assert several["overall"].pop("several")["tried"] == 12
    for selection in (several, alone):
        for choice in (selection["overall"], *selection["tasks"].values()):
            choice.pop("because")
    assert several == alone


def test_values_that_go_together_are_asked_about_and_other_errors_are_seen(
    talkative: Path, tmp_path: Path
) -> None:
    """A schedule that was not surveyed is no reason to leave a candidate out."""
    console = Console(file=io.StringIO())
    merges = map_models(
        read_run("mode=search", *pair(talkative), RULES, "merge/schedule=norms", f"cache={tmp_path}"), console
    )
    asker = Asker(
        console, merges, SlowEngine(tmp_path, 1, 1), {"x": Example("x", "t", "q")}, (), {}, tmp_path
    )
    assert not asker([Candidate.of({ALPHA: 0.6, ATTN: 2.0})], ["x"]).candidates
    with pytest.raises(AdammsError, match="has to survey the models first"):
        asker([Candidate(0.5)], ["x"])


def test_a_rule_without_effect_is_told(talkative: Path, tmp_path: Path) -> None:
    said = io.StringIO()
    rules = "merge.rules=[{roles: [attn, mlp], factor: 1}, {match: q_proj, alpha: 0}]"
    map_models(read_run("mode=merge", *pair(talkative), rules, f"cache={tmp_path}"), Console(file=said))
    assert "match='q_proj'" in said.getvalue()
    assert "has no effect: rules before it take its tensors" in " ".join(said.getvalue().split())

"""search=trusted from the command line: who is asked what, what is written, and where it cannot be had."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Outcome, pair, write_jsonl

GRID = "search.grid=[0,0.01,0.02,0.03,0.04,0.05,0.06,0.07,0.08]"  # so near that most answers stay

SURENESS = "search.signal.members.disagreement.sureness"


def search(models: Path, folder: Path, out: str, *more: str) -> list[str]:
    return [
        *("mode=search", *pair(models), "search=trusted", GRID, "search.resamples=50", "data=jsonl"),
        *(f"data.path={folder / 'data.jsonl'}", "engine.max_new_tokens=3", "engine.accelerator=cpu"),
        *(f"output={folder / out}", f"store={folder / 'store'}", *more),
    ]


def asked(said: str) -> dict[str, int]:
    """Answers that each stage of the search asked for: 'search', 'search a'."""
    found: dict[str, int] = {}
    for title, count in re.findall(r"^(search[^:]*): (\d+) answers in", said, re.MULTILINE):
        found[title] = found.get(title, 0) + int(count)
    return found


def test_half_of_the_answers_make_as_good_a_choice_as_all(
    run: Callable[..., Outcome], talkative: Path, tmp_path: Path
) -> None:
    write_jsonl(tmp_path, per_task=4)
    spared = run(*search(talkative, tmp_path, "spared", "evaluate=none"))
    assert spared.status == 0, spared.err
    whole = run(*search(talkative, tmp_path, "whole", "evaluate=none", "search.bisection=null"))
    assert whole.status == 0, whole.err
    examples = asked(whole.out)["search a"]
    assert asked(whole.out)["search"] == 9 * examples
    assert asked(spared.out)["search a"] == examples
    assert 2 * examples <= asked(spared.out)["search"] < 9 * examples
    files = (tmp_path / name / "selection.json" for name in ("spared", "whole"))
    one, other = (json.loads(file.read_text())["overall"] for file in files)
    # Of random models many alphas are almost as good; D is nearly exact where the choice is.
    chosen = str(one["alpha"])
    assert other["differences"][chosen] <= 1.02 * min(other["differences"].values())
    assert one["differences"][chosen] == pytest.approx(other["differences"][chosen], rel=0.05)
    assert 0 <= one["trust"]["probability"] <= 1
    assert one["trust"]["tolerance"] == 2.0
    assert "agree best with its neighbours'" in " ".join(spared.out.split())
    assert "it is within 2 points of the best on the grid" in " ".join(spared.out.split())
    page = (tmp_path / "spared" / "report.html").read_text()
    assert "how probably it is within 2 points of the best on the grid" in page


def test_votes_that_all_count_alike_need_no_log_probabilities(
    run: Callable[..., Outcome], talkative: Path, tmp_path: Path
) -> None:
    write_jsonl(tmp_path, per_task=2)
    done = run(*search(talkative, tmp_path, "out", "evaluate=none", SURENESS + "=0", "search.logprobs=0"))
    assert done.status == 0, done.err
    assert json.loads((tmp_path / "out/selection.json").read_text())["overall"]["alpha"] is not None


def test_the_evaluation_asks_what_the_search_did_not(
    run: Callable[..., Outcome], talkative: Path, tmp_path: Path
) -> None:
    write_jsonl(tmp_path, per_task=2)
    done = run(*search(talkative, tmp_path, "out"))
    assert done.status == 0, done.err
    evaluation = json.loads((tmp_path / "out/evaluation.json").read_text())
    grid = {"0", *(f"0.0{place}" for place in range(1, 9))}
    assert set(evaluation["candidates"]) == grid | {"0.1"}  # which is always scored beside it
    rows = [json.loads(line) for line in (tmp_path / "out/answers.jsonl").read_text().splitlines()]
    assert all(set(row["answers"]) >= grid for row in rows)


def test_logs_are_not_enough(run: Callable[..., Outcome], tmp_path: Path) -> None:
    for alpha in range(3):
        said = f'["{alpha > 1}"]'
        (tmp_path / f"{alpha}.jsonl").write_text(
            f'{{"doc_id": 0, "resps": [{said}], "filtered_resps": {said}}}\n'
        )
    logs = ", ".join(f"0.{alpha}: {tmp_path / f'{alpha}.jsonl'}" for alpha in range(3))
    arguments = ("engine=replay", "search=trusted", "model=custom", f"engine.logs={{{logs}}}")
    done = run(*arguments)
    assert done.status == 2
    assert "this search needs the parents' own answers" in done.err
    assert "search=adamms" in done.err
    assert "search=trusted_logs" in done.err
    alone = run(*arguments, "search=trusted_logs", f"output={tmp_path / 'out'}")
    assert alone.status == 0, alone.err
    assert "it is within 2 points" in " ".join(alone.out.split())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("search.bisection.first=0", "search.bisection.first is 0"),
        ("search.tolerance=-1", "search.tolerance is -1"),
        ("~search.signal.weights.disagreement", "search.signal.weights has consistency, likelihood; "),
        ("search.ties=last", "search.ties"),
        (f"{SURENESS}=-1", f"{SURENESS} is -1; expected a number of at least 0"),
        ("search.logprobs=0", "engine.logprobs is 0; expected search.logprobs=10"),
    ],
)
def test_bad_settings_are_named_before_any_work(
    run: Callable[..., Outcome], talkative: Path, tmp_path: Path, setting: str, message: str
) -> None:
    write_jsonl(tmp_path, per_task=1)
    done = run(*search(talkative, tmp_path, "out", setting))
    assert done.status == 2
    assert message in done.err
    assert not (tmp_path / "out").exists()

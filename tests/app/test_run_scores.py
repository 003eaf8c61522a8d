"""Searches that score given texts: what they ask for, that it is kept, and what they refuse."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Outcome, write_jsonl
from slow_engine import LOG, noted

from adamms.report.cost import Cost
from adamms.report.result import Result


@pytest.fixture
def search(run: Callable[..., Outcome], talkative: Path, tmp_path: Path) -> Callable[..., Outcome]:
    """A search over 8 examples and 3 candidates."""

    def call(*more: str) -> Outcome:
        write_jsonl(tmp_path, per_task=1)
        return run(
            *("model=custom", f"model.target.path={talkative / 'target'}", "data=jsonl"),
            *(f"data.path={tmp_path / 'data.jsonl'}", f"model.donors.a.path={talkative / 'donor'}"),
            *("search=adamms", "search.endpoints=both", "search.grid=[0,0.5,1]", "search.resamples=10"),
            *(f"output={tmp_path / 'out'}", f"cache={tmp_path}", *more),
        )

    return call


def test_scores_are_made_once_and_the_cost_is_told(
    search: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slow engine's answers have no tokens, and it finds given texts likeliest at alpha 0.5."""
    monkeypatch.setenv(LOG, str(tmp_path / "log"))
    given = ["engine._target_=slow_engine.Slow", "search/signal=likelihood", "search.signal.pool=all"]
    given.append("evaluate=none")
    done = search(*given)
    assert done.status == 0, done.err
    scored = [(alpha, name) for alpha, name in noted(tmp_path / "log") if ":" in name]
    assert len(scored) == len(set(scored)) == len(noted(tmp_path / "log")) - 4 * 8
    result = Result.from_json(json.loads((tmp_path / "out/result.json").read_text()))
    assert result.cost == Cost(4 * 8, None, len(scored), 2 * len(scored))
    assert f"search scores: {len(scored)} texts" in done.out
    assert f"The search asked for 32 answers, and scored {len(scored)} given texts" in " ".join(
        done.out.split()
    )
    assert result.selection is not None
    assert str(result.selection.overall.candidate) == "0.5"
    shutil.rmtree(tmp_path / "out")
    again = search(*given)
    assert f"store: {len(scored)} scores were there, 0 were made" in again.out
    assert len(noted(tmp_path / "log")) == len(scored) + 4 * 8


@pytest.mark.parametrize("signal", ["sequence_divergence", "parents_alignment", "semantic_entropy"])
def test_the_real_engine_does_it(search: Callable[..., Outcome], tmp_path: Path, signal: str) -> None:
    done = search(
        f"search/signal={signal}", "engine.accelerator=cpu", "engine.max_new_tokens=3", "evaluate=none"
    )
    assert done.status == 0, done.err
    result = Result.from_json(json.loads((tmp_path / "out/result.json").read_text()))
    assert result.cost is not None
    assert result.cost.tokens
    assert result.selection is not None
    values = list(result.selection.overall.differences.values())
    assert all(value > 0 for value in values) or signal == "semantic_entropy"
    assert len(set(values)) == 3


def test_a_donor_with_another_tokenizer_is_refused_where_ids_are_compared(
    search: Callable[..., Outcome], talkative: Path, tmp_path: Path
) -> None:
    donor = shutil.copytree(talkative / "donor", tmp_path / "donor")
    file = donor / "tokenizer.json"
    content = json.loads(file.read_text())
    words = content["model"]["vocab"]
    one, two = list(words)[-2:]
    words[one], words[two] = words[two], words[one]
    file.write_text(json.dumps(content))
    done = search("search/signal=parents_alignment", f"model.donors.a.path={donor}", "mapper.embeddings=keep")
    assert done.status == 2
    assert "donor a has another tokenizer than the target: token" in done.err
    assert "search/signal=likelihood" in done.err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["search.donors=false"], "this search looks at the donors' own answers: search.donors=true"),
        (["engine=replay", "engine.logs={0.0: a, 0.5: b, 1.0: c}"], "the probabilities that candidates give"),
    ],
)
def test_what_it_cannot_have_is_said_before_any_work(
    search: Callable[..., Outcome], more: list[str], message: str
) -> None:
    done = search("search/signal=likelihood", *more)
    assert done.status == 2
    assert message in done.err


def test_a_target_that_cannot_score_is_refused_before_any_model_starts(
    search: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LOG, str(tmp_path / "log"))
    monkeypatch.setattr("adamms.engines.transformers.engine.PREFIX_MODELS", {"qwen2_vl"})
    done = search("search/signal=likelihood", "engine._target_=slow_engine.Slow")
    assert done.status == 2
    assert "a qwen2_vl looks at its whole input at once" in done.err
    assert not (tmp_path / "log").exists()
    assert search("engine._target_=slow_engine.Slow").status == 0

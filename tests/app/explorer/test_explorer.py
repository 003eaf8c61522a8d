"""The explorer without its page: its answers are those of mode=respond, its model that of mode=merge."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from math import exp
from pathlib import Path

import failing_engine
import pytest
from command import Outcome
from exploring import exploring, given, responded
from films import film, filmed_models
from PIL import Image

from adamms.app.explorer import pieces
from adamms.app.explorer.dials import along, candidate_at
from adamms.app.explorer.explorer import Explorer
from adamms.app.explorer.page import NO_PICTURE, OF_VIDEO, Page
from adamms.engines.answer import Answer
from adamms.errors import AdammsError
from adamms.merge.candidate import Candidate

Run = Callable[..., Outcome]
AT = Candidate(0.37)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("explorer")


@pytest.fixture(scope="module")
def explorer(talkative: Path, folder: Path) -> Iterator[Explorer]:
    with exploring(talkative, folder) as (found, _, _):
        yield found


def test_answers_are_those_of_mode_respond(explorer: Explorer, talkative: Path, folder: Path) -> None:
    for candidate in (Candidate(0.0), AT, Candidate(1.0)):
        expected = responded(talkative, folder, str(candidate))
        found = {name: explorer.merged(candidate, e).text for name, e in explorer.examples.items()}
        assert found == {name: expected[name] for name in found}
        if candidate == Candidate(0.0):
            own = {name: explorer.target(e).text for name, e in explorer.examples.items()}
            assert own == found
    assert len(set(found.values())) > 3


def test_the_donors_answers_are_those_of_the_donor_alone(
    explorer: Explorer, talkative: Path, folder: Path
) -> None:
    models = folder / "donor alone"
    if not models.exists():
        shutil.copytree(talkative / "donor", models / "target")
        shutil.copytree(talkative / "donor", models / "donor")
    expected = responded(models, folder, "0")
    for name, example in explorer.examples.items():
        answer = explorer.donor("a", example)
        assert answer is not None
        assert answer.text == expected[name]


def test_tokens_have_text_and_probabilities(explorer: Explorer) -> None:
    example = next(iter(explorer.examples.values()))
    for answer, donor in ((explorer.merged(AT, example), ""), (explorer.donor("a", example), "a")):
        assert answer is not None
        words = explorer.words(answer, donor)
        assert [word.probability for word in words] == [exp(token.logprob) for token in answer.tokens]
        assert " ".join(word.text for word in words).startswith(answer.text)
        for word in words:
            assert len(word.likeliest) == 3
            assert word.likeliest[0] == (word.text, word.probability)


def test_the_strip_is_the_grid_at_the_other_settings(explorer: Explorer) -> None:
    example = list(explorer.examples.values())[1]
    explorer.target(example)
    shown = list(explorer.along(AT, example))
    assert [sum(answer is not None for answer in found.values()) for found in shown][-1] == 4
    assert list(shown[-1]) == list(explorer.run.grid)
    for candidate, answer in shown[-1].items():
        assert answer == explorer.merged(candidate, example)
    both = Candidate.of({"merge.alpha": 0.3, "merge.weights.a": 2.0})
    key, candidates = along(explorer.run.grid, both)
    assert key == "merge.alpha"
    assert [each.settings["merge.alpha"] for each in candidates] == [0, 0.25, 0.5, 1]
    assert {each.settings["merge.weights.a"] for each in candidates} == {2.0}


def test_an_empty_answer_in_the_strip_is_no_gap() -> None:
    strip = pieces.strip("alpha", [("0", Answer(""), True), ("0.5", None, False)])
    assert re.findall("<b>(.*)</b>", strip) == ["(empty)", "..."]


def test_ones_own_question_is_checked_as_the_data_are(explorer: Explorer, tmp_path: Path) -> None:
    Image.effect_noise((64, 48), 60).save(tmp_path / "own.png")
    own = explorer.own("read red", tmp_path / "own.png")
    assert explorer.merged(AT, own).text
    assert explorer.donor("a", own) is None
    explorer.ask_donors([own])
    assert explorer.donor("a", own) is not None
    assert explorer.own("read red", tmp_path / "own.png") == own
    (tmp_path / "torn.png").write_bytes((tmp_path / "own.png").read_bytes()[:300])
    for question, image, said in (
        ("read red", "torn.png", "torn.png does not decode"),
        (" ", "own.png", "there is no question"),
        ("read <|im_end|>", "own.png", "your question: the question has '<|im_end|>'"),
    ):
        with pytest.raises(AdammsError, match=said.replace("|", r"\|")):
            explorer.own(question, tmp_path / image)


def test_a_video_is_shown_by_its_first_frame_and_asked_about_with_another_question(
    talkative: Path, tmp_path: Path
) -> None:
    models = filmed_models(talkative, tmp_path / "models")
    film(tmp_path / "a.mp4")
    rows = [{"question": "largest digit", "video": "a.mp4"}, {"question": "largest digit"}]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with exploring(models, tmp_path) as (explorer, labels, _):
        page = Page(explorer, labels)
        assert page.pictured == ["1"]
        assert [thumbnail.size for thumbnail in page._thumbnails()] == [(48, 32)]
        assert OF_VIDEO in page._pictured("1", None)
        assert NO_PICTURE in page._pictured("2", None)
        own = page._example("1", None, "which digit")
        assert own.video == explorer.examples["1"].video
        assert explorer.merged(AT, own).tokens != explorer.merged(AT, explorer.examples["1"]).tokens


def test_what_cannot_be_merged_is_an_error_and_the_engine_goes_on(explorer: Explorer) -> None:
    example = next(iter(explorer.examples.values()))
    explorer.merged(Candidate(0.2), example)
    engine = explorer._engine
    with pytest.raises(AdammsError, match=r"alpha has no value; give one from 0 to 1"):
        candidate_at(explorer.dials, [None])
    assert [candidate_at(explorer.dials, [value]).alpha for value in (-3, 0.21, 1.2)] == [0, 0.21, 1]
    with pytest.raises(AdammsError, match="the candidate"):
        explorer.merged(Candidate.of({"merge.rules": 3.0}), example)
    explorer.merged(Candidate(0.21), example)
    assert explorer._engine is engine


def test_the_model_is_that_of_mode_merge(
    run: Run, explorer: Explorer, talkative: Path, folder: Path, tmp_path: Path
) -> None:
    written = explorer.use(AT)
    done = run("mode=merge", "merge.alpha=0.37", *given(talkative, folder), f"output={tmp_path / 'merge'}")
    assert done.status == 0, done.err
    expected = tmp_path / "merge/model"
    assert sorted(file.name for file in written.iterdir()) == sorted(f.name for f in expected.iterdir())
    for name in ("model.safetensors", "adamms_recipe.json", "config.json"):
        assert (written / name).read_bytes() == (expected / name).read_bytes(), name
    assert "alpha: 0.37" in (written.parent / "config.yaml").read_text()
    assert json.loads((written.parent / "result.json").read_text())["folder"] == str(written)
    assert written == folder / "out/0.37/model"
    assert explorer.use(AT) == written  # as a command that is repeated
    assert explorer.use(Candidate(0.5)) == folder / "out/0.5/model"


def test_a_dead_engine_is_told_and_the_next_question_starts_another(
    talkative: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = "engine._target_=failing_engine.Failing"
    with exploring(talkative, tmp_path, engine, "store=null") as (explorer, _, said):
        first, second, *_ = explorer.examples.values()
        assert explorer.merged(AT, first).text
        monkeypatch.setenv(failing_engine.WHERE, f"target:{second.id}:runtime")
        with pytest.raises(AdammsError, match="CUDA error: an illegal memory access"):
            explorer.merged(AT, second)
        assert list(explorer.along(AT, second)) == []
        assert explorer.merged(AT, first).text  # by an engine that dies of the second question
        strip = list(Page(explorer, {})._along("session", second.id, None, second.question, 0.37))
        assert "CUDA error: an illegal memory access" in strip[-1]
        assert explorer.merged(AT, first).text
        page = Page(explorer, {})
        strip = page._along("session", second.id, None, second.question, 0.37)
        next(strip)
        page._touches["session"] += 1  # the error of a question that nobody asks any more
        assert list(strip) == []
        assert failing_engine.FailingEngine.live == []
        monkeypatch.delenv(failing_engine.WHERE)
        assert explorer.merged(AT, second).text
        assert failing_engine.FailingEngine.live == ["target"]
        monkeypatch.setenv(failing_engine.WHERE, "donor:start:sentence")
        explorer.ask_donors([explorer.own("q")])
        assert "example 'x' is refused" in explorer.silent["a"]
        assert "donor a is not asked: " in said.getvalue()
    assert failing_engine.FailingEngine.live == []


def test_there_is_a_dial_for_every_coefficient(talkative: Path, tmp_path: Path) -> None:
    donor = talkative / "donor"
    rules = "merge.rules={late: {layers: [2,3], factor: 1}}"
    with exploring(talkative, tmp_path, f"+model.donors.b.path={donor}", rules) as (explorer, _, _):
        assert [(dial.name, dial.least, dial.most, dial.now) for dial in explorer.dials] == [
            ("alpha", 0.0, 1.0, 0.3),
            ("weights.a", 0.0, 2.0, 1.0),
            ("weights.b", 0.0, 2.0, 1.0),
            ("rules.late.factor", 0.0, 2.0, 1.0),
        ]
        example = next(iter(explorer.examples.values()))
        at = candidate_at(explorer.dials, [0.4, 1.5, 0.5, 0.0])
        assert explorer.merges.at(at).coefficients == pytest.approx({"a": 0.3, "b": 0.1})
        settings = (
            "{merge.alpha: 0.4, merge.weights.a: 1.5, merge.weights.b: 0.5, merge.rules.late.factor: 0.0}"
        )
        given_too = [f"+model.donors.b.path={donor}", rules, "merge.weights={a: 1, b: 1}"]
        expected = responded(talkative, tmp_path, settings, *given_too)
        assert explorer.merged(at, example).text == expected[example.id]


def test_a_hyper_parameter_of_the_grid_is_chosen_among_its_values(talkative: Path, tmp_path: Path) -> None:
    ancestor = f"model.ancestor.path={talkative / 'ancestor'}"
    grid = "search.grid={merge.density: [0.2, 0.5], merge.alpha: [0.3, 0.6]}"
    with exploring(talkative, tmp_path, ancestor, "merge=ties", grid) as (explorer, _, _):
        assert [(dial.name, dial.values) for dial in explorer.dials] == [
            ("alpha", ()),
            ("density", (0.2, 0.5)),
        ]
        example = next(iter(explorer.examples.values()))
        assert explorer.merged(candidate_at(explorer.dials, [0.45, 0.5]), example).text
        assert [
            str(each) for each in list(explorer.along(candidate_at(explorer.dials, [0.45, 0.5]), example))[-1]
        ] == [
            "density=0.5, alpha=0.3",
            "density=0.5, alpha=0.6",
        ]

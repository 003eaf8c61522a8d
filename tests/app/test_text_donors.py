"""A donor that is a language model alone, the ancestor among them: what it cannot see is not asked of it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command import Outcome, read_run, write_jsonl
from families import save_family, save_language
from page_text import Page
from safetensors.torch import load_file, save_file

from adamms.app.class_facts import ClassFacts
from adamms.app.models import open_models
from adamms.report.console import Console
from adamms.report.result import Result

# As Qwen2.5's: a message is one text.
TEMPLATE = "{% for m in messages %}{{ m.content + '<|im_end|>' }}{% endfor %}{{ '<|im_end|>' }}"


@pytest.fixture
def reasoner(talkative: Path, tmp_path: Path) -> Path:
    """The ancestor with a chat template."""
    folder = shutil.copytree(talkative / "ancestor", tmp_path / "reasoner")
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def data(folder: Path, unseen: int = 0) -> Path:
    """Questions with images, but for the first of each task up to so many tasks."""
    file = write_jsonl(folder, per_task=2)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines[: 2 * unseen : 2]:
        del line["image"]
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


@pytest.fixture
def search(run: Callable[..., Outcome], talkative: Path, tmp_path: Path) -> Callable[..., Outcome]:
    def call(donor: Path, *more: str) -> Outcome:
        return run(
            *("model=custom", f"model.target.path={talkative / 'target'}", f"model.donors.a.path={donor}"),
            *(
                "search=trusted",
                "search.grid=[0,0.5,1]",
                "data=jsonl",
                f"data.path={tmp_path / 'data.jsonl'}",
            ),
            *("engine.max_new_tokens=3", "engine.accelerator=cpu", f"output={tmp_path / 'out'}", *more),
        )

    return call


def test_images_are_not_asked_of_it_and_everything_says_so(
    search: Callable[..., Outcome], reasoner: Path, tmp_path: Path
) -> None:
    data(tmp_path)
    done = search(reasoner)
    assert done.status == 0, done.err
    what = "16 of 16 questions: they have images, which it cannot see"
    assert done.out.count(f"donor a is not asked {what}") == 1
    assert "search a:" not in done.out
    assert "search scores:" not in done.out  # of the target's answers alone
    assert "donor a alone: not asked all" in done.out
    page = Page(tmp_path / "out/report.html")
    assert f"donor a is not asked {what}" in page.text
    assert "donor a alone: not asked" in page.text
    assert "donor a alone: not asked" in (tmp_path / "out/model/README.md").read_text()
    result = Result.from_json(json.loads((tmp_path / "out/result.json").read_text()))
    assert result.not_asked == {"a": what}
    assert result.scored.donors == {}


def test_questions_without_images_are_asked_and_voted_on(
    search: Callable[..., Outcome], reasoner: Path, tmp_path: Path
) -> None:
    data(tmp_path, unseen=3)
    done = search(reasoner, "evaluate=none")
    assert done.status == 0, done.err
    assert "donor a is not asked 13 of 16 questions" in done.out
    assert "search a: 3 answers in" in done.out
    assert "search scores:" in done.out


def test_where_it_can_be_asked_everything_it_is_scored(
    search: Callable[..., Outcome], reasoner: Path, tmp_path: Path
) -> None:
    file = data(tmp_path, unseen=8)
    file.write_text("\n".join(line for line in file.read_text().splitlines() if "image" not in line))
    done = search(reasoner)
    assert done.status == 0, done.err
    assert "not asked" not in done.out
    assert set(json.loads((tmp_path / "out/evaluation.json").read_text())["donors"]) == {"a"}


def test_the_ancestor_over_late_layers_alone(
    search: Callable[..., Outcome], talkative: Path, tmp_path: Path
) -> None:
    """It has no chat template, so it is asked nothing; with it for a donor the control would be the merge."""
    data(tmp_path, unseen=3)
    ancestor = talkative / "ancestor"
    done = search(ancestor, f"model.ancestor.path={ancestor}", "evaluate.control=true", "mapper.layers=[2,3]")
    assert done.status == 0, done.err
    assert "donor a is not asked 16 of 16 questions: it has no chat template" in done.out
    assert "warning: the donor is the ancestor itself" in done.out
    plan = json.loads((tmp_path / "out/plan.json").read_text())
    merged = {slot["name"].split(".")[2] for slot in plan["tensors"] if slot["action"] == "merge"}
    assert merged == {"2", "3"}
    assert json.loads((tmp_path / "out/evaluation.json").read_text())["control"] == {}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["search/signal=surest_parent"], "no donor can be asked a question; search=trusted does without"),
        (["search/signal=surest_parent", "search.donors=false"], "donors' own answers: search.donors=true"),
    ],
)
def test_a_search_that_says_nothing_without_donors_is_refused_before_it_starts(
    search: Callable[..., Outcome], reasoner: Path, tmp_path: Path, more: list[str], message: str
) -> None:
    data(tmp_path)
    done = search(reasoner, *more)
    assert done.status == 2
    assert message in done.err
    assert "answers in" not in done.out


def test_a_donor_that_breaks_before_a_search_says_the_way_on(
    search: Callable[..., Outcome], talkative: Path, tmp_path: Path
) -> None:
    data(tmp_path)
    donor = shutil.copytree(talkative / "donor", tmp_path / "donor")
    (donor / "processor_config.json").unlink()
    done = search(donor)
    assert done.status == 2
    assert done.err.endswith("To search without the donors' own answers: search.donors=false\n")
    assert search(donor, "search.donors=false").status == 0


def test_a_language_model_as_the_target_is_not_shown_images(
    run: Callable[..., Outcome], reasoner: Path, talkative: Path, tmp_path: Path
) -> None:
    data(tmp_path)
    done = run(
        *("model=custom", f"model.target.path={reasoner}", f"model.donors.a.path={talkative / 'target'}"),
        *("data=jsonl", f"data.path={tmp_path / 'data.jsonl'}", f"output={tmp_path / 'out'}"),
    )
    assert done.status == 2
    assert "data.jsonl, line 1: it has an image, and the model takes none" in done.err


def save_with_constants(name: str, folder: Path) -> Path:
    """With what old versions of transformers kept in the files."""
    file = save_family(name, folder) / "model.safetensors"
    save_file(load_file(file) | {"model.layers.0.attention.rotary_emb.inv_freq": torch.ones(16)}, file)
    return folder


@pytest.mark.parametrize(
    ("save", "name", "alone"),
    [
        (save_language, "qwen3", True),
        (save_family, "internlm2", True),  # of which transformers knows no class: its tensors tell
        (save_with_constants, "internlm2", True),
        (save_family, "qwen3_vl", False),
        (save_family, "internvl_internlm2", False),
        (save_family, "phi3_v", False),  # Phi3VForCausalLM
    ],
)
def test_a_language_model_alone_is_told_from_an_mllm(
    save: Callable[..., Path], name: str, alone: bool, tmp_path: Path, silent: Console
) -> None:
    folder = save(name, tmp_path / name)
    run = read_run("model=custom", f"model.target.path={folder}", f"model.donors.a.path={folder}")
    models = open_models(run.models, run.mapper, ClassFacts(tmp_path), silent.stage)
    assert models.donors["a"].text_only == alone


@pytest.mark.parametrize(
    ("unseen", "said"), [(0, "it is not asked any of the 16 questions"), (3, "takes them")]
)
def test_the_doctor_knows_what_it_is_asked(
    search: Callable[..., Outcome], reasoner: Path, tmp_path: Path, unseen: int, said: str
) -> None:
    data(tmp_path, unseen)
    (line,) = (
        line
        for line in search(reasoner, "mode=doctor").out.splitlines()
        if "questions of model.donors.a" in line
    )
    assert not line.startswith("wrong")
    assert line.endswith(said)

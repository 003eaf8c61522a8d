"""The model card: metadata that the hub accepts, licences of what went in, results, and code that runs."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from PIL import Image

from adamms.evaluate.evaluation import Evaluation, Scores
from adamms.merge.candidate import Candidate
from adamms.report.card import PICTURE, Origin, write_card
from adamms.report.result import Result
from adamms.search.choice import Choice, Selection

LOADER = "from transformers import AutoModel; model = AutoModel.from_pretrained({})"
RECIPE = {
    "method": {"name": "linear"},
    "coefficients": {"onevision": 0.30000000000000004},
    "coverage": [
        {"action": "merge", "reason": "", "tensors": 339, "parameters": 7615616512},
        {"action": "keep", "reason": "vision encoder", "tensors": 391, "parameters": 675759104},
    ],
}
TARGET = Origin("Qwen/Qwen2-VL-7B-Instruct", "apache-2.0")


def front(card: str) -> dict[str, object]:
    return yaml.safe_load(card.split("---\n", 2)[1])


def test_the_hubs_fields_and_the_recipe(tmp_path: Path) -> None:
    card = write_card(tmp_path, [TARGET, Origin("llava-hf/onevision", "apache-2.0")], RECIPE, LOADER)
    assert front(card) == {
        "base_model": ["Qwen/Qwen2-VL-7B-Instruct", "llava-hf/onevision"],
        "base_model_relation": "merge",
        "library_name": "transformers",
        "pipeline_tag": "image-text-to-text",
        "tags": ["merge", "adamms", "linear"],
        "license": "apache-2.0",
    }
    assert "merged by `linear` with 0.3 of onevision" in card
    assert "| merge |  | 339 | 7,615,616,512 |" in card
    assert "| keep | vision encoder | 391 | 675,759,104 |" in card
    assert "2503.23733" in card
    assert ModelCard(card).data.base_model == ["Qwen/Qwen2-VL-7B-Instruct", "llava-hf/onevision"]


def test_a_folder_is_no_base_model_of_the_hub(tmp_path: Path) -> None:
    card = write_card(tmp_path, [Origin("a: [strange] 'name' # of a folder"), TARGET], RECIPE, LOADER)
    assert front(card)["base_model"] == [TARGET.name]
    assert "`a: [strange] 'name' # of a folder`, whose architecture it has" in card
    assert "base_model" not in front(write_card(tmp_path, [Origin("mine")], RECIPE, LOADER))


@pytest.mark.parametrize(
    ("licences", "expected"),
    [
        (("mit", "mit"), "mit"),
        (("mit", "llama2"), "other"),
        (("mit", None), "other"),
        ((None, None), None),
    ],
)
def test_the_licence_is_that_of_all_or_other(
    tmp_path: Path, licences: tuple[str | None, ...], expected: str | None
) -> None:
    origins = [Origin(f"o/{number}", licence) for number, licence in enumerate(licences)]
    card = write_card(tmp_path, origins, RECIPE, LOADER)
    assert front(card).get("license") == expected
    for origin in origins:
        assert f"`{origin.name}`: {origin.licence or 'not said in its folder'}" in card


def test_what_others_wrote_is_neither_markdown_nor_html(tmp_path: Path) -> None:
    """Names of models, donors and tasks, licences and reasons: shown as they are, on one line."""
    evil = "x` | <script>alert(1)</script>\n# Heading\n---\n![a](https://b.c) [l](d) **e** @f"
    recipe = {
        "method": {"name": "linear"},
        "coefficients": {evil: 0.5},
        "coverage": [{"action": "keep", "reason": evil, "tensors": 1, "parameters": 1}],
    }
    winner = Candidate(0.5)
    choice = Choice(winner, {winner: 0.0}, (), 1.0, {winner: 1.0}, 2)
    evaluation = Evaluation({winner: Scores({evil: 1.0})}, {evil: Scores({evil: 1.0})}, {})
    result = Result(evil, selection=Selection({}, choice), evaluation=evaluation, merged=winner, labelled=2)
    card = write_card(tmp_path, [Origin(evil, evil)], recipe, LOADER, result)
    body = card.split("---\n", 2)[2]
    assert [line for line in body.splitlines() if line.startswith(("#", "---"))] == [
        *("# Merged with adamms", "## How it was chosen", "## What was merged", "## Use", "## Citation")
    ]
    outside_code = re.sub(r"(`+) .*? \1(?!`)", "", body)
    assert "alert" in outside_code
    assert re.search(r"(?<!\\)(<|\*\*|@f|!\[a|\[l)", outside_code) is None
    rows = [line for line in body.splitlines() if line.startswith("|")]
    columns = {len(re.split(r"(?<!\\)\|", row)) for row in rows}
    assert columns == {5, 6}  # three and four cells, whatever bars a name has
    assert front(card)["license"] == evil.replace("\n", " ")
    assert ModelCard(card).data.tags == ["merge", "adamms", "linear"]


def test_python_files_that_came_along_are_announced(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    for name in ("modeling_x.py", "code/visual.py"):
        (tmp_path / name).write_text("")
    card = write_card(tmp_path, [TARGET], RECIPE, LOADER)
    assert (
        "from `Qwen/Qwen2-VL-7B-Instruct`, as they were: `code/visual.py`, `modeling_x.py`. They run only "
        "with `trust_remote_code=True`." in card
    )


def test_a_model_of_text_alone_says_so(tmp_path: Path) -> None:
    loader = "from transformers import AutoModelForCausalLM; model = AutoModelForCausalLM.from_pretrained({})"
    card = write_card(tmp_path, [TARGET], RECIPE, loader)
    assert front(card)["pipeline_tag"] == "text-generation"
    assert "model = AutoModelForCausalLM.from_pretrained(folder)" in card


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---\nlicense: mit\ntags: [a]\n---\n# M", "mit"),
        ("---\nlicense: [mit, apache-2.0]\n---\n", "mit, apache-2.0"),
        ("---\nlicense: {a: 1}\n---\n", None),
        (f"---\nlicense: {'[' * 5000}\n---\n", None),
        ("# no front matter", None),
        ("---\nlicense: [\n---\n", None),
        ("---\n- a list\n---\n", None),
        (None, None),
    ],
)
def test_a_licence_is_read_from_the_folders_own_card(tmp_path: Path, text: str | None, expected: str) -> None:
    if text is not None:
        (tmp_path / "README.md").write_text(text)
    assert Origin.of("o/m", tmp_path) == Origin("o/m", expected)


def test_results_are_in_the_text_and_in_the_index(tmp_path: Path) -> None:
    low, high = Candidate(0.0), Candidate(0.3)
    choice = Choice(high, {low: 5.0, high: 1.0}, (high,), 0.9, {high: 0.9}, 12)
    evaluation = Evaluation(
        {low: Scores({"read": 60.0, "add": 20.0}), high: Scores({"read": 70.0, "add": 41.25})},
        {"b": Scores({"read": 10.0, "add": 50.0})},
        {},
    )
    result = Result("t", selection=Selection({}, choice), evaluation=evaluation, merged=high)
    card = write_card(tmp_path, [TARGET], RECIPE, LOADER, replace(result, measure="token F1", labelled=8))
    (index,) = front(card)["model-index"]
    values = {entry["dataset"]["name"]: entry["metrics"][0]["value"] for entry in index["results"]}
    assert values == {"read": 70.0, "add": 41.25}
    assert "over 12 examples" in card
    assert "Scores (token F1, %) on 8 labelled examples:" in card
    rows = [line for line in card.splitlines() if line.startswith(("| this", "| target", "| donor"))]
    assert [row.split("|")[1].strip() for row in rows] == ["this model", "target alone", "donor b alone"]
    found = ModelCard(card).data.eval_results[0]
    assert (found.metric_type, found.metric_name, found.metric_value) == ("token_f1", "token F1 (%)", 70.0)


def test_scores_have_their_standard_errors_and_are_compared_with_the_better_parent(
    pointed: Result, tmp_path: Path
) -> None:
    merged = replace(pointed, merged=pointed.winner(None))
    card = write_card(tmp_path, [TARGET], RECIPE, LOADER, merged)
    mean = pointed.target_scores.estimate()
    assert mean is not None
    assert f"| target alone | {mean.value:.1f} ± {mean.error:.1f} |" in card
    assert "labelled examples, ± one standard error:" in card
    assert "The better parent, donor a, has " in card


def test_a_search_over_one_axis_has_its_picture_on_the_card(result: Result, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_card(tmp_path / name, [TARGET], RECIPE, LOADER, result)
    assert f"]({PICTURE})" in (tmp_path / "one/README.md").read_text()
    one, two = (tmp_path / name / PICTURE for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    with Image.open(one) as picture:
        assert picture.width > picture.height > 300
        assert len(picture.convert("RGB").getcolors(maxcolors=1_000_000) or ()) > 10
    write_card(tmp_path, [TARGET], RECIPE, LOADER)
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["README.md"]
    assert PICTURE not in (tmp_path / "README.md").read_text()


def test_the_code_on_the_card_is_an_import_and_a_call(tmp_path: Path) -> None:
    code = write_card(tmp_path, [TARGET], RECIPE, LOADER).split("```python\n")[1].split("```")[0]
    assert code == "from transformers import AutoModel\n\nmodel = AutoModel.from_pretrained(folder)\n"

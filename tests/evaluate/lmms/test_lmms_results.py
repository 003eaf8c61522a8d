"""Files as lmms-eval writes them: two tasks, one of them with nothing but a file to be submitted."""

import json
from pathlib import Path
from typing import Any

import pytest

from adamms.errors import AdammsError
from adamms.evaluate.foreign.results import Metric
from adamms.evaluate.lmms.results import read_results

CONTENT: dict[str, Any] = {
    "results": {
        "mme": {
            "alias": "mme",
            "mme_perception_score,none": 1523.25,
            "mme_perception_score_stderr,none": "N/A",
            "exact_match,strict": 0.5,
            "exact_match_stderr,strict": 0.25,
            "exact_match_stderr_clt,strict": 0.24,
            "exact_match_stderr_clustered,strict": "N/A",
        },
        "vizwiz_vqa_test": {"alias": "vizwiz", "submission,none": None, "submission_stderr,none": []},
        "both": {"alias": "both", "exact_match,none": float("nan"), "acc,none": 0.75},
    },
    "higher_is_better": {"mme": {"exact_match": True}, "both": {"acc": None}},
    "config": {"model": "vllm"},
}
SAMPLES = [
    {
        "doc_id": 10,
        "doc_hash": "h",
        "target": "yes",
        "input": "Is it red?",
        "resps": [["Yes."]],
        "filtered_resps": ["yes"],
        "input_media": ["a.png", {"not": "a name"}],
        "token_counts": [{"output_tokens": 2}],
        "exact_match": 1.0,
        "mme_perception_score": {"question_id": "x"},
    },
    {"doc_id": 9, "doc_hash": "h", "target": "no", "input": "?", "filtered_resps": "no", "exact_match": 0},
]


def write(folder: Path, content: Any, samples: Any = SAMPLES) -> Path:
    file = folder / "org__model/20250301_000000_results.json"
    file.parent.mkdir()
    file.write_text(json.dumps(content))
    lines = "".join(json.dumps(sample) + "\n" for sample in samples)
    (file.parent / "20250301_000000_samples_mme.jsonl").write_text(lines)
    (file.parent / "20240101_000000_samples_both.jsonl").write_text(lines)  # of another run
    return file


def test_metrics_are_numbers_with_their_errors(tmp_path: Path) -> None:
    found = read_results(write(tmp_path, CONTENT), tmp_path, "0.7.3")
    assert found.metrics == [
        Metric("mme", "mme_perception_score", "none", 1523.25, None, 2, None),
        Metric("mme", "exact_match", "strict", 0.5, 0.25, 2, True),
        Metric("both", "acc", "none", 0.75),
    ]
    assert (found.version, found.model, found.folder) == ("0.7.3", "vllm", tmp_path)
    json.dumps(found.to_json(), allow_nan=False)


def test_samples_say_what_was_asked_and_answered(tmp_path: Path) -> None:
    nine, ten = read_results(write(tmp_path, CONTENT), tmp_path, "0.7.3").samples
    assert (nine.number, nine.answer, nine.raw, nine.scores) == (9, "no", "no", {"exact_match": 0.0})
    assert (ten.task, ten.question, ten.target, ten.answer, ten.raw) == (
        *("mme", "Is it red?", "yes", "yes", "Yes."),
    )
    assert (ten.images, ten.scores) == (("a.png",), {"exact_match": 1.0})


@pytest.mark.parametrize(
    "content", [[], {}, {"results": {}}, {"results": {"mme": 1}, "config": {"model": ""}}]
)
def test_what_is_not_of_lmms_eval_is_named(tmp_path: Path, content: Any) -> None:
    with pytest.raises(AdammsError, match=r"_results\.json: not results as lmms-eval writes them"):
        read_results(write(tmp_path, content), tmp_path, "0.7.3")

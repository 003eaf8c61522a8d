"""Existing logs: every format as the tools write it, what is aligned with what, and the authors' choice.

The two scripts of the authors are done over here from what they compute, in plain Python on plain lists.
"""

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from command import start_run
from configured_engines import settings_of
from hypothesis import given
from hypothesis import strategies as st
from strategies import paper

from adamms.engines.logs.replay import Replayed
from adamms.errors import AdammsError
from adamms.merge.candidate import Candidate
from adamms.search.choice import Choice
from adamms.search.evidence import recorded
from adamms.search.strategy import Strategy

Row = Mapping[str, Any]


def old_log(file: Path, answers: Sequence[str], **more: Any) -> str:
    """As lmms-eval wrote before 0.3: nested lists, sorted by doc_id, one document."""
    logs = [
        {"doc_id": i, "target": "secret", "doc": {"q": i}, "arguments": ["q", {}], "resps": [[text]]}
        | {"filtered_resps": [text.strip()], "exact_match": 1.0}
        | more
        for i, text in enumerate(answers)
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"args": {}, "model_configs": {}, "logs": logs, "time": "1"}, indent=4))
    return str(file)


def as_written_by_0_7(number: int, text: str, filtered: str | None = None, **more: Any) -> dict[str, Any]:
    """One line, after lmms-eval 0.7 has unwrapped lists of one and dropped resps that say the same."""
    row: dict[str, Any] = {"doc_id": number, "target": "secret", "resps": [text]}
    row["filtered_resps"] = text if filtered is None else filtered
    if row["resps"][0] == row["filtered_resps"]:
        row.pop("resps")
    return (
        row | {"token_counts": [None], "doc_hash": f"hash{number}", "exact_match": 0.0, "input": "q"} | more
    )


def jsonl(file: Path, rows: Sequence[Row]) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(file)


def vlm(file: Path, rows: Sequence[Row]) -> str:
    """As VLMEvalKit dumps its table: xlsx, quoted tsv, or JSON records."""
    columns = list(rows[0])
    if file.suffix == ".xlsx":
        from openpyxl import Workbook

        book = Workbook()
        book.active.append(columns)
        for row in rows:
            book.active.append([row[column] for column in columns])
        book.save(file)
    elif file.suffix == ".tsv":
        import csv

        with file.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, delimiter="\t", quoting=csv.QUOTE_ALL)
            writer.writerows([columns, *([row[c] for c in columns] for row in rows)])
    else:
        file.write_text(json.dumps(list(rows), indent=4, ensure_ascii=False))
    return str(file)


def texts(found: Replayed, task: str = "mme") -> dict[float, list[str]]:
    return {c.alpha: [own[id].text for id in found.tasks[task]] for c, own in found.answers.items()}


def replay(logs: Mapping[Any, Any], **settings: Any) -> Replayed:
    logs = {str(alpha): place for alpha, place in logs.items()}
    found: Replayed = settings_of("replay", **{"logs": logs, "filtered": [], "only": {}, **settings}).read()
    return found


def chosen(found: Replayed, strategy: Strategy) -> Choice:
    return strategy.choose(recorded(found.answers), sorted(found.answers), found.tasks).overall


# What the scripts compute -----------------------------------------------------------------------------


def script_llama(answers: Mapping[str, list[str]], smooth: int = 0) -> dict[str, float]:
    """view_log_delta_perdata_search_limit.py: interior alphas, examples unlike either neighbour."""
    alphas = sorted(answers)
    counts = []
    for i in range(1, len(alphas) - 1):
        here, before, after = (answers[alphas[k]] for k in (i, i - 1, i + 1))
        stable = [
            h.lower() == b.lower() and h.lower() == a.lower()
            for h, b, a in zip(here, before, after, strict=True)
        ]
        counts.append(float(stable.count(False)))
    windows = [counts[max(0, i - smooth) : i + smooth + 1] for i in range(len(counts))]
    return {a: sum(w) / len(w) for a, w in zip(alphas[1:-1], windows, strict=True)}


def script_qwen(answers: Mapping[str, list[str]]) -> dict[str, float]:
    """view_log_delta_perdata_search_qwen_interpolation_diff2.py: all but the first, against the previous."""
    alphas = sorted(answers)
    return {
        alphas[i]: float(
            sum(
                str(h).lower() != str(b).lower()
                for h, b in zip(answers[alphas[i]], answers[alphas[i - 1]], strict=True)
            )
        )
        for i in range(1, len(alphas))
    }


def algorithm_1(answers: Mapping[str, list[str]]) -> dict[str, float]:
    """The paper's Algorithm 1: the changes against both neighbours, added."""
    steps = script_qwen(answers)
    alphas = sorted(answers)
    return {alphas[i]: steps[alphas[i]] + steps[alphas[i + 1]] for i in range(1, len(alphas) - 1)}


SCRIPTS = {"either": script_llama, "previous": script_qwen, "sum": algorithm_1}
ANSWERS = st.sampled_from(["yes", "Yes", "YES", "no", "A", "a", "", "1", "1.0", "é", "É", "two words"])


@given(st.data())
def test_the_choice_is_the_authors_on_their_logs(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    count = data.draw(st.integers(3, 8))
    examples = data.draw(st.integers(1, 12))
    row = st.lists(ANSWERS, min_size=examples, max_size=examples)
    answers = {f"{i / 10:.1f}": data.draw(row) for i in range(count)}
    folder = tmp_path_factory.mktemp("logs")
    files = {alpha: old_log(folder / alpha / "vizwiz.json", own) for alpha, own in answers.items()}
    found = replay(files)
    assert texts(found, "vizwiz") == {float(a): own for a, own in answers.items()}
    for rule, script in SCRIPTS.items():
        expected = {Candidate(float(alpha)): value for alpha, value in script(answers).items()}
        choice = chosen(found, paper(rule, resamples=1))
        assert choice.differences == expected
        assert set(choice.tied) == {a for a, v in expected.items() if v == min(expected.values())}
        assert choice.candidate in choice.tied
    smoothed = paper("either", smoothing=1, resamples=1)
    expected = {Candidate(float(a)): value for a, value in script_llama(answers, smooth=1).items()}
    choice = chosen(found, smoothed)
    assert choice.differences == pytest.approx(expected)


@pytest.mark.parametrize("suffix", [".xlsx", ".tsv", ".json"])
def test_the_choice_is_the_authors_on_vlmevalkit(tmp_path: Path, suffix: str) -> None:
    answers = {f"0.{i}": [str((i * k) % 3) + "é" for k in range(1, 9)] for i in range(7)}
    files = {
        alpha: vlm(tmp_path / f"m-{alpha}_MMMU_DEV_VAL{suffix}", [row(k, a) for k, a in enumerate(own)])
        for alpha, own in answers.items()
    }
    found = replay(files)
    assert list(found.tasks) == ["default"]
    choice = chosen(found, paper("previous", resamples=1))
    assert choice.differences == {Candidate(float(a)): v for a, v in script_qwen(answers).items()}


def row(index: int, prediction: Any) -> dict[str, Any]:
    return {"index": index, "question": "q\nwith\ttab", "answer": "secret", "prediction": prediction}


# The formats ------------------------------------------------------------------------------------------


class TestLmmsEval:
    def test_folders_with_a_file_per_task_the_latest_of_each(self, tmp_path: Path) -> None:
        for alpha in ("0.0", "0.1", "0.2"):
            folder = tmp_path / alpha / "org__model"  # lmms-eval makes a folder per model
            jsonl(folder / "20250101_000000_samples_mme.jsonl", [as_written_by_0_7(0, "old")])
            jsonl(folder / "20250301_000000_samples_mme.jsonl", [as_written_by_0_7(0, alpha)])
            jsonl(folder / "20250101_000000_samples_ok_vqa_val2014.jsonl", [as_written_by_0_7(0, "x")])
            (folder / "20250301_000000_results.json").write_text("{}")
        jsonl(tmp_path / "0.1/org__model/20250301_000000_samples_gqa.jsonl", [as_written_by_0_7(0, "x")])
        found = replay({alpha: str(tmp_path / alpha) for alpha in ("0.0", "0.1", "0.2")})
        assert list(found.tasks) == ["mme", "ok_vqa_val2014"]
        assert texts(found) == {0.0: ["0.0"], 0.1: ["0.1"], 0.2: ["0.2"]}
        assert "the tasks gqa" in found.notes[0]

    @pytest.mark.parametrize(
        ("logged", "raw"),
        [
            ({"resps": ["a"], "filtered_resps": "b"}, "a"),
            ({"resps": [["a"]], "filtered_resps": ["b"]}, "a"),
            ({"resps": "a", "filtered_resps": "b"}, "a"),
            ({"resps": [["a", "other try"], ["c"]], "filtered_resps": ["b"]}, "a"),
            ({"filtered_resps": "a"}, "a"),
            ({"filtered_resps": ["a"]}, "a"),
            ({"filtered_resps": [["a"]]}, "a"),
            ({"resps": [[1]], "filtered_resps": "1"}, "1"),
            ({"resps": [], "filtered_resps": []}, ""),
            ({"filtered_resps": "line 1\nline 2\u2028"}, "line 1\nline 2\u2028"),
        ],
    )
    def test_answers_in_whatever_nest_they_are(self, tmp_path: Path, logged: Row, raw: str) -> None:
        line = {"doc_id": 0, "doc_hash": "h", **logged}
        file = jsonl(tmp_path / "1_samples_mme.jsonl", [line])
        assert texts(replay({"0": file, "0.5": file})) == {0.0: [raw], 0.5: [raw]}

    def test_filtered_answers_where_they_are_asked_for(self, tmp_path: Path) -> None:
        file = jsonl(tmp_path / "1_samples_mmmu_val.jsonl", [as_written_by_0_7(0, "It is B.", "B")])
        assert texts(replay({0: file}), "mmmu_val") == {0.0: ["It is B."]}
        assert texts(replay({0: file}, filtered=["mmmu*"]), "mmmu_val") == {0.0: ["B"]}

    def test_aligned_by_content_whatever_order_and_number(self, tmp_path: Path) -> None:
        rows = [as_written_by_0_7(i, f"answer {i}") for i in range(5)]
        shuffled = [rows[i] | {"doc_id": 10 + i} for i in (3, 0, 4, 2, 1)]
        found = replay(
            {
                "0.0": jsonl(tmp_path / "a_samples_mme.jsonl", rows),
                "1": jsonl(tmp_path / "b_samples_mme.jsonl", shuffled),
            }
        )
        assert texts(found)[0.0] == texts(found)[1.0] == [f"answer {i}" for i in range(5)]

    def test_logged_twice_counts_once_and_the_first_is_taken(self, tmp_path: Path) -> None:
        rows = [as_written_by_0_7(0, "a"), as_written_by_0_7(1, "b"), as_written_by_0_7(0, "later")]
        files = {c: jsonl(tmp_path / f"{c}_samples_mme.jsonl", rows[: 3 - c]) for c in (0, 1)}
        found = replay(files)
        assert texts(found) == {0.0: ["a", "b"], 1.0: ["a", "b"]}
        assert found.notes == [
            "mme: 2 examples, aligned by content; left out, logged more than once (the first counts): "
            "1 at alpha 0"
        ]

    def test_the_same_content_under_two_numbers_is_two_examples(self, tmp_path: Path) -> None:
        rows = [as_written_by_0_7(i, f"{i}", doc_hash="same") for i in (9, 10)]
        files = [jsonl(tmp_path / f"{i}_samples_mme.jsonl", rows[::step]) for i, step in enumerate((1, -1))]
        assert texts(replay(dict(enumerate(files)))) == {0.0: ["9", "10"], 1.0: ["9", "10"]}

    def test_hashes_of_addresses_are_seen_through(self, tmp_path: Path) -> None:
        """lmms-eval hashes a decoded image by its place in memory, which is another in every run."""
        files = {
            c: jsonl(
                tmp_path / f"{c}_samples_mme.jsonl",
                [as_written_by_0_7(i, str(i), doc_hash=f"{c} {i}") for i in order],
            )
            for c, order in ((0, (0, 1)), (1, (1, 0)))
        }
        found = replay(files)
        assert texts(found) == {0.0: ["0", "1"], 1.0: ["0", "1"]}
        assert "aligned by number" in found.notes[0]
        with pytest.raises(AdammsError, match="no example is in the logs of every alpha"):
            replay(files, align="content")

    def test_the_hash_of_nothing_says_nothing(self, tmp_path: Path) -> None:
        """lmms-eval 0.7 hashes what it has let go of, so that all examples have one: of JSON's null."""
        nothing = "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b"
        rows = [as_written_by_0_7(i, f"{i}", doc_hash=nothing) for i in range(4)]
        files = {
            0: jsonl(tmp_path / "a_samples_mme.jsonl", rows),
            1: jsonl(tmp_path / "b_samples_mme.jsonl", [rows[3], rows[0], rows[2]]),  # without 1
        }
        found = replay(files)
        assert texts(found) == {0.0: ["0", "2", "3"], 1.0: ["0", "2", "3"]}
        assert "3 examples, aligned by number" in found.notes[0]

    def test_only_what_all_have_with_counts_of_the_rest(self, tmp_path: Path) -> None:
        files = {
            c: jsonl(
                tmp_path / f"{c}_samples_mme.jsonl", [as_written_by_0_7(i, str(i)) for i in range(c, 6 + c)]
            )
            for c in (0, 1)
        }
        found = replay(files)
        assert texts(found)[0.0] == ["1", "2", "3", "4", "5"]
        assert found.notes == [
            "mme: 5 examples, aligned by content; left out, not in every log: 1 in every log"
        ]

    def test_only_records_with_a_field(self, tmp_path: Path) -> None:
        rows = [
            as_written_by_0_7(0, "a", mme_perception_score={}),
            as_written_by_0_7(1, "b", mme_cognition_score={}),
        ]
        file = jsonl(tmp_path / "1_samples_mme.jsonl", rows)
        found = replay({0: file}, only={"mme": ["mme_percetion_score", "mme_perception_score"]})
        assert texts(found) == {0.0: ["a"]}
        assert "without mme_percetion_score or mme_perception_score: 1 in every log" in found.notes[0]

    def test_old_logs_in_folders_beside_their_results(self, tmp_path: Path) -> None:
        for alpha in ("0.0", "0.1"):
            old_log(tmp_path / alpha / "mme.json", ["a ", "b"])
            (tmp_path / alpha / "results.json").write_text("{}")
        found = replay({alpha: str(tmp_path / alpha) for alpha in ("0.0", "0.1")})
        assert texts(found) == {0.0: ["a ", "b"], 0.1: ["a ", "b"]}


def options(number: int, values: Sequence[float], nested: bool = True, **more: Any) -> dict[str, Any]:
    """As lmms-eval logs multiple choice: a list of (value, is_greedy) per option, all of it as text."""
    pairs = [[str(value), str(value == max(values))] for value in values]
    row = {"doc_id": number, "doc_hash": f"hash{number}", "filtered_resps": pairs}
    return row | ({"resps": [[pair] for pair in pairs]} if nested else {}) | more


class TestLogLikelihoods:
    @pytest.mark.parametrize("nested", [True, False])
    def test_the_best_option_is_the_answer_not_the_first_number(self, tmp_path: Path, nested: bool) -> None:
        values = {0: [[-3.0, -1.5, -2.0], [-0.1, -9.0, -1.0]], 1: [[-1.0, -1.5, -2.0], [-0.5, -9.0, -0.25]]}
        files = {
            alpha: jsonl(
                tmp_path / f"{alpha}/1_samples_seedbench_ppl.jsonl",
                [options(i, own, nested) for i, own in enumerate(rows)],
            )
            for alpha, rows in values.items()
        }
        found = replay(files)
        assert texts(found, "seedbench_ppl") == {0.0: ["B", "A"], 1.0: ["A", "C"]}
        assert "seedbench_ppl: the answers are the options of the highest log-likelihood" in found.notes

    def test_losses_are_known_by_their_sign(self, tmp_path: Path) -> None:
        """Most of lmms-eval's models log losses; lmms-eval takes the least."""
        file = jsonl(tmp_path / "1_samples_ppl.jsonl", [options(0, [3.0, 1.5]), options(1, [0.0, 1.5])])
        found = replay({0: file})
        assert texts(found, "ppl") == {0.0: ["B", "A"]}
        assert "ppl: the answers are the options of the lowest loss" in found.notes

    @pytest.mark.parametrize(
        "more",
        [
            {"doc": {"choices": ["red", "blue"]}},
            {"doc": {"options": ["red", "blue"]}},
            {"arguments": [["q", " red"], ["q", " blue"]]},
            {"arguments": ["q", " red", 0, "ppl", "test", "q", " blue", 0, "ppl", "test"]},
            {"arguments": [["red cars", " x"], ["blue", " x"]], "doc": {"choices": ["one"]}},
        ],
    )
    def test_options_whose_texts_are_logged(self, tmp_path: Path, more: Row) -> None:
        rows = [options(0, [-1.0, -2.0], **more), options(1, [-2.0, -1.0], **more)]
        said = texts(replay({0: jsonl(tmp_path / "1_samples_ppl.jsonl", rows)}), "ppl")[0.0]
        assert said == [said[0], "blue"]
        assert said[0] in ("red", "red cars")

    def test_letters_for_all_where_one_log_has_no_texts(self, tmp_path: Path) -> None:
        file = jsonl(
            tmp_path / "a/1_samples_ppl.jsonl", [options(0, [-2.0, -1.0], doc={"choices": ["x", "y"]})]
        )
        other = jsonl(tmp_path / "b/1_samples_ppl.jsonl", [options(0, [-2.0, -1.0])])
        assert texts(replay({0: file, 1: other}), "ppl") == {0.0: ["B"], 1.0: ["B"]}

    def test_old_logs(self, tmp_path: Path) -> None:
        file = old_log(
            tmp_path / "ppl.json",
            ["a"],
            resps=[[[-2.5, False]], [[-1, True]]],
            filtered_resps=[[-2.5, False], [-1, True]],
        )
        assert texts(replay({0: file}), "ppl") == {0.0: ["B"]}

    @pytest.mark.parametrize(
        ("rows", "said"),
        [
            (
                [{"doc_id": 0, "filtered_resps": ["-1.5", "False"]}],
                "one text per example, which name no answer",
            ),
            ([options(0, [-1.0, 2.0])], "log-likelihoods of both signs"),
            ([options(0, [-1.0, -2.0]), options(1, [1.0, 2.0])], "log-likelihoods of both signs"),
            ([options(0, [-1.0, float("nan")])], "record 1: 1 of 2 options have no log-likelihood"),
            ([options(0, [-1.0, -2.0]), as_written_by_0_7(1, "a")], "record 2: a text among log-likelihoods"),
            ([options(0, [-1.0, -2.0], acc_mutual_info=1.0)], "record 1: log-likelihoods relative to"),
        ],
    )
    def test_what_names_no_option_is_refused(self, tmp_path: Path, rows: list[Row], said: str) -> None:
        file = jsonl(tmp_path / "1_samples_ppl.jsonl", rows)
        with pytest.raises(AdammsError, match=said) as raised:
            replay({0: file})
        assert file in str(raised.value)

    def test_texts_are_not_compared_with_options(self, tmp_path: Path) -> None:
        files = {
            0: jsonl(tmp_path / "a/1_samples_t.jsonl", [as_written_by_0_7(0, "A")]),
            0.5: jsonl(tmp_path / "b/1_samples_t.jsonl", [options(0, [-1.0, -2.0])]),
        }
        with pytest.raises(
            AdammsError, match="t: the logs of alpha 0 have texts, the others log-likelihoods"
        ):
            replay(files)


class TestWhatIsSaid:
    def test_which_folders_beside_the_alphas_are_other_models(self, tmp_path: Path) -> None:
        for name in ("0.0", "0.5", "donor", "notes"):
            old_log(tmp_path / name / "t.json", ["a"])
        (tmp_path / "donor/results.json").write_text("{}")
        found = settings_of("replay", logs=str(tmp_path)).read()
        assert found.others == {"donor": {"t": tmp_path / "donor/t.json"}}
        [left_out] = [note for note in found.notes if "left out" in note]
        assert left_out.endswith("<task>.json beside results.json in them: notes")

    def test_several_answers_to_an_example(self, tmp_path: Path) -> None:
        rows = [as_written_by_0_7(i, "a", resps=["a", "b", "c"]) for i in range(2)] + [
            as_written_by_0_7(2, "x")
        ]
        file = jsonl(tmp_path / "1_samples_mme.jsonl", rows)
        found = replay({0: file})
        assert texts(found) == {0.0: ["a", "a", "x"]}
        assert f"{file}: 2 examples have up to 3 answers each; the first counts" in found.notes

    def test_runs_of_two_dates(self, tmp_path: Path) -> None:
        for date in ("20250101", "20250301"):
            jsonl(tmp_path / f"org__m/{date}_samples_mme.jsonl", [as_written_by_0_7(0, date)])
            (tmp_path / f"org__m/{date}_results.json").write_text('{"model_name": "org/m"}')
        found = replay({0: str(tmp_path)})
        assert texts(found) == {0.0: ["20250301"]}
        assert found.notes[-1] == (
            f"{tmp_path}: 1 logs of earlier runs are left out, the latest of each task counts: "
            "20250101_samples_mme.jsonl"
        )

    def test_two_models_in_one_folder(self, tmp_path: Path) -> None:
        for model in ("S1__model", "S3__model"):
            jsonl(tmp_path / f"{model}/20250101_samples_mme.jsonl", [as_written_by_0_7(0, model)])
        with pytest.raises(
            AdammsError, match=r"the task mme has logs in several folders.*S1__model.*S3__model"
        ):
            replay({0: str(tmp_path)})

    def test_two_models_whose_folders_have_one_name(self, tmp_path: Path) -> None:
        """lmms-eval names the folder by the last two parts of the model's path."""
        for date, model in (("20250101", "a/out/model"), ("20250301", "b/out/model")):
            jsonl(tmp_path / f"out__model/{date}_samples_{date}.jsonl", [as_written_by_0_7(0, date)])
            (tmp_path / f"out__model/{date}_results.json").write_text(json.dumps({"model_name": model}))
        with pytest.raises(
            AdammsError, match=r"several models: a/out/model \(20250101.*b/out/model \(20250301"
        ):
            replay({0: str(tmp_path)})

    def test_two_models_with_a_task_each(self, tmp_path: Path) -> None:
        for model, task in (("S1__model", "mme"), ("S3__model", "mmmu")):
            jsonl(tmp_path / f"{model}/20250101_samples_{task}.jsonl", [as_written_by_0_7(0, model)])
        said = f"{tmp_path}: the tasks' logs lie in several folders, S1__model, S3__model: "
        assert f"{said}are they one model's?" in replay({0: str(tmp_path)}).notes

    def test_one_log_under_two_alphas(self, tmp_path: Path) -> None:
        files = [
            jsonl(tmp_path / f"{name}/1_samples_mme.jsonl", [as_written_by_0_7(0, text)])
            for name, text in (("a", "x"), ("b", "x"), ("c", "y"))
        ]
        said = "The alphas 0, 0.1 have the same log, byte for byte: was it given twice?"
        assert replay({0: files[0], 0.1: files[0], 0.2: files[2]}).doubts == {"mme": [said]}
        assert replay({0: files[0], 0.1: files[1], 0.2: files[2]}).doubts == {"mme": [said]}
        assert replay({0: files[0], 0.2: files[2]}).doubts == {"mme": []}

    def test_answers_that_are_not_there(self, tmp_path: Path) -> None:
        file = vlm(tmp_path / "m.json", [row(1, float("nan")), row(2, None), row(3, "a"), row(3, "b")])
        found = replay({0: file})
        assert texts(found, "default") == {0.0: ["", "", "a"]}
        assert found.notes == [
            "default: 3 examples, aligned by number; left out, logged more than once (the first counts): "
            "1 in every log",
            f"{file}: 2 of 4 answers are empty, or were not given",
        ]

    def test_logs_of_different_data_sets(self, tmp_path: Path) -> None:
        tables = [
            vlm(tmp_path / f"{i}.json", [row(1, "A"), row(2, "B") | {"question": q}])
            for i, q in enumerate("ab")
        ]
        (aligned,) = replay(dict(enumerate(tables))).notes
        assert aligned.endswith(
            "1 of them have another question in another log: are these logs of one dataset?"
        )
        files = [
            jsonl(
                tmp_path / f"1_samples_{task}.jsonl", [as_written_by_0_7(0, "a", doc_hash=task, input=task)]
            )
            for task in ("gqa", "mme")
        ]
        aligned, named = replay(dict(enumerate(files))).notes
        assert "1 of them have another question in another log" in aligned
        assert named == "the logs are named after gqa, mme; they are taken for one task"

    def test_judges_columns_are_no_answers(self, tmp_path: Path) -> None:
        judged = {"hit": 1, "log": "Match", "res": "B", "prediction_openai": "C"}
        file = vlm(tmp_path / "m_openai_result.xlsx", [row(1, "A") | judged])
        assert texts(replay({0: file}), "default") == {0.0: ["A"]}


class TestVlmEvalKit:
    @pytest.mark.parametrize("suffixes", [(".xlsx",), (".tsv",), (".json",), (".xlsx", ".tsv", ".json")])
    def test_tables_aligned_on_index(self, tmp_path: Path, suffixes: tuple[str, ...]) -> None:
        predictions = ["yes", "tab\tand\nline", "12", "ü 漢", "=SUM(1)", ""]
        rows = [row(i, p) for i, p in enumerate(predictions)]
        files = {
            i / 10: {"MME": vlm(tmp_path / f"m{i}_MME{suffix}", rows[i:] + rows[:i])}
            for i, suffix in enumerate(suffixes * 2)
        }
        for own in texts(replay(files, format="vlmevalkit"), "MME").values():
            assert own == predictions

    def test_numbers_are_alike_whatever_type_a_table_gives_them(self, tmp_path: Path) -> None:
        files = {
            0: vlm(tmp_path / "a.xlsx", [row(1, 12), row(2, None)]),
            1: vlm(tmp_path / "b.json", [row(1.0, 12.0), row(2.0, float("nan"))]),
            0.5: vlm(tmp_path / "c.tsv", [row(1, "12"), row(2, "")]),
        }
        assert set(map(tuple, texts(replay(files), "default").values())) == {("12", "")}

    @pytest.mark.parametrize("suffix", [".pkl", ".pickle"])
    def test_pickles_are_refused_by_name_unopened(self, tmp_path: Path, suffix: str) -> None:
        class Trap:
            def __reduce__(self) -> tuple[Any, ...]:
                return (Path.touch, (tmp_path / "sprung",))

        file = tmp_path / f"model_MME{suffix}"
        file.write_bytes(pickle.dumps(Trap()))
        with pytest.raises(AdammsError, match="pickles are not read"):
            replay({0: str(file)})
        assert not (tmp_path / "sprung").exists()


BAD = {
    "no file": ("gone.jsonl", None, "no such file or folder"),
    "not JSON": (
        "1_samples_t.jsonl",
        '{"doc_id": 1, "resps": "a"}\n{"doc',
        "line 2 is not JSON: it is the last, and cut off. Evaluate again",
    ),
    "torn in the middle": ("1_samples_t.jsonl", '{"doc_id": 1, "res\n{"doc_id": 2}\n', "line 1 is not JSON"),
    "torn in a letter": (
        "1_samples_t.jsonl",
        '{"doc_id": 1, "resps": "ü'.encode()[:-1],
        "line 1 is not JSON",
    ),
    "torn rows": ("t.tsv", "index\tquestion\tprediction\n1\tq\tyes\n2\tq", "line 3: 2 of 3 columns"),
    "torn cells": ("t.tsv", 'index\tprediction\n1\t"yes"\n2\t"n', "line 3: not a table"),
    "other objects": ("1_samples_t.jsonl", '{"question": "q"}', "record 1: expected an object with resps"),
    "no id": ("1_samples_t.jsonl", '{"resps": "a"}', "doc_hash or doc_id"),
    "empty": ("1_samples_t.jsonl", "", "holds no records"),
    "results": ("results.json", '{"results": {}}', "neither lmms-eval's"),
    "broken table": ("t.xlsx", "not a zip", "not an xlsx file"),
    "other columns": ("t.tsv", "a\tb\n1\t2\n", "expected the columns index and prediction; found a, b"),
    "text": ("notes.txt", "hello", "unknown kind of log"),
    "not text": ("t.json", b"\xff\xfe\x00", "cannot be read"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_logs_are_named(tmp_path: Path, case: str) -> None:
    name, content, message = BAD[case]
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(AdammsError, match=message) as raised:
        replay({0: str(tmp_path / name)})
    assert name in str(raised.value)


def test_bad_settings_are_named(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "1_samples_t.jsonl", [as_written_by_0_7(0, "a")])
    other = jsonl(tmp_path / "1_samples_u.jsonl", [as_written_by_0_7(0, "a")])
    for logs, settings, message in (
        ({}, {}, "expected alpha: path"),
        ({"much": file}, {}, "'much' for an alpha"),
        ({"1.5": file}, {}, r"alpha is 1\.5"),
        ({"0.1": file, "0.10": file}, {}, "names an alpha twice"),
        ({0: file}, {"format": "vlmevalkit"}, "this is a log of lmms_eval"),
        ({0: 5}, {}, r"engine\.replay\.logs.* 5.*; expected a text or a mapping"),
        ({0: {"t": file}, 1: {"u": other}}, {}, "no task is in the logs of every alpha"),
        ({0: str(tmp_path / "empty")}, {}, "no such file or folder"),
    ):
        with pytest.raises(AdammsError, match=message):
            replay(logs, **settings)


# The mode ---------------------------------------------------------------------------------------------


def call(mode: str, *overrides: str) -> None:
    start_run(f"mode={mode}", "engine=replay", *overrides)


@pytest.mark.parametrize("model", ["demo", "custom"])
def test_a_search_in_logs_needs_no_model_and_writes_none(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = {
        alpha: [("x" if k < 3 * i % 7 else "y") for k in range(8)]
        for i, alpha in enumerate(("0.0", "0.1", "0.2", "0.3"))
    }
    logs = {alpha: old_log(tmp_path / alpha / "gqa.json", own) for alpha, own in answers.items()}
    given = ",".join(f"{alpha}: {path}" for alpha, path in logs.items())
    call(
        "search",
        *(f"model={model}", f"engine.logs={{{given}}}", f"output={tmp_path / 'out'}", "cache=nowhere"),
        *("search.signal.rule=either", "search.samples=null", "search.ties=lowest"),
    )
    selection = json.loads((tmp_path / "out/selection.json").read_text())
    expected = {f"{float(alpha):g}": value for alpha, value in script_llama(answers).items()}
    assert selection["overall"]["differences"] == selection["tasks"]["gqa"]["differences"] == expected
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        ".hydra",
        "report.html",
        "result.json",
        "run.log",
        "selection.json",
    ]
    page = (tmp_path / "out/report.html").read_text()
    assert "gqa: 8 examples, aligned by number" in page
    assert '"id":"gqa/0"' in page
    assert "secret" not in page
    assert "gqa: 8 examples" in capsys.readouterr().out


def test_it_goes_with_a_search_alone(tmp_path: Path) -> None:
    file = old_log(tmp_path / "t.json", ["a"])
    logs = f"engine.logs={{0: {file}}}"
    for mode in ("plan", "merge", "respond", "evaluate"):
        with pytest.raises(AdammsError, match=f"mode={mode} needs a model: .* goes with mode=search"):
            call(mode, "model=custom", logs, "candidate=0.1", "model_folder=x", "cache=no", "output=no")
    with pytest.raises(AdammsError, match="needs at least 3"):
        call("search", "model=custom", f"engine.logs={{0: {file}}}", "cache=nowhere", f"output={tmp_path}/o")

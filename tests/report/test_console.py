"""What is printed: the data's numbers, in 80 columns, plain when it is not a terminal."""

import io
from dataclasses import replace
from pathlib import Path

import pytest

from adamms.evaluate.evaluation import Evaluation, Scores
from adamms.mapping.plan import Plan
from adamms.report.console import Console
from adamms.report.result import Result
from adamms.search.choice import Selection


def printed(result: Result, width: int = 80) -> str:
    file = io.StringIO()
    Console(file, width=width).results(result)
    return file.getvalue()


def row(text: str, label: str) -> list[str]:
    """The words of the first line that begins with `label`, without the label."""
    line = next(line for line in text.splitlines() if line.startswith(label))
    return line.removeprefix(label).split()


def renamed(result: Result, names: dict[str, str]) -> Result:
    assert result.selection is not None
    assert result.evaluation is not None

    def scores(found: Scores) -> Scores:
        return Scores({names[task]: value for task, value in found.tasks.items()})

    evaluation = Evaluation(
        {c: scores(s) for c, s in result.evaluation.candidates.items()},
        {name: scores(s) for name, s in result.evaluation.donors.items()},
        {c: scores(s) for c, s in result.evaluation.control.items()},
    )
    tasks = {names[task]: choice for task, choice in result.selection.tasks.items()}
    return replace(result, evaluation=evaluation, selection=Selection(tasks, result.selection.overall))


def test_scores_of_every_alpha_are_those_of_the_data(result: Result):
    text = printed(result)
    assert result.evaluation is not None
    for candidate, scores in result.evaluation.candidates.items():
        label = {0.0: "0 target", 0.1: "0.1 fixed"}.get(candidate.alpha, f"{candidate} ")
        mean, _, *tasks = [word.rstrip("*^=") for word in row(text, label)]
        assert mean == f"{scores.mean:.1f}"
        assert tasks == [f"{value:.1f}" for value in scores.tasks.values()]
    assert row(text, "donor a")[0] == f"{result.evaluation.donors['a'].mean:.1f}"


def test_choice_and_oracle_are_marked_where_they_are(result: Result):
    assert result.selection is not None
    text = printed(result)
    choice, oracle = result.selection.overall.candidate, result.oracle(None)
    assert choice != oracle
    assert row(text, f"{choice} ")[0].endswith("*")
    assert row(text, f"{oracle} ")[0].endswith("^")
    same = row(text, "0.2 ")  # chosen for spell, and no worse than the oracle there
    assert same[3].endswith("=")


def test_every_task_has_its_choice_confidence_oracle_and_regret(result: Result):
    assert result.selection is not None
    _, table = printed(result).split("The choice, one winner per task")
    for task, choice in result.selection.tasks.items():
        words = row(table, f"{task} ")
        assert choice.trust is not None
        low = ["LOW"] * (choice.trust.probability < 0.8)
        assert words[: 4 + len(low)] == [
            str(choice.candidate),
            *(f"{100 * choice.trust.probability:.0f}%", *low, f"{100 * choice.confidence:.0f}%"),
            f"{choice.differences[choice.candidate]:.0f}",
        ]
        assert words[-2:] == [str(result.oracle(task)), f"{result.regret(task).value:.1f}"]
    assert row(table, "ALL TASKS")[-1] == f"{result.regret(None).value:.1f}" != "0.0"


def test_the_summary_compares_the_choice_with_all_baselines(result: Result):
    assert result.evaluation is not None
    text = printed(result)
    own = result.score(result.choice(None).candidate, None)
    control = max(scores.mean for scores in result.evaluation.control.values())
    target = result.score(result.unmerged, None)
    assert row(text, "control's best (no donor)")[1:] == [f"{control:.1f}", f"{control - own:+.1f}"]
    assert row(text, "target alone") == ["0", f"{target:.1f}", f"{target - own:+.1f}"]
    assert row(text, "fixed, no search")[:2] == ["0.1", f"{result.score(result.fixed, None):.1f}"]
    assert row(text, "chosen, one per task")[0] == f"{result.per_task().mean:.1f}"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_nothing_is_wider_than_the_console(result: Result, plan: Plan, width: int):
    file = io.StringIO()
    console = Console(file, width=width)
    console.results(result)
    console.results(replace(result, evaluation=None))
    console.plan(plan)
    assert max(map(len, file.getvalue().splitlines())) <= width


def test_at_80_columns_eight_tasks_fit_into_one_table(result: Result):
    assert printed(result).count("0.1 fixed") == 1


def test_standard_errors_are_shown_where_there_is_room(pointed: Result):
    """At 80 columns the means have them, or the note below says how large they are; wider, all have."""
    mean, target = pointed.chosen.estimate(), pointed.target_scores.estimate(less=pointed.chosen)
    assert mean is not None
    assert target is not None
    narrow, middle, wide = (printed(pointed, width) for width in (60, 80, 160))
    for text in (narrow, middle, wide):
        assert row(text, "chosen, one for all tasks")[1:] == [f"{mean.value:.1f}", "±", f"{mean.error:.1f}"]
        assert row(text, "target alone")[-3:] == [f"{target.value:+.1f}", "±", f"{target.error:.1f}"]
        assert "± one standard error: of a mean at most " in text
    assert middle.count("0.1 fixed") == 1
    assert row(middle, "0.1 fixed").count("±") in (0, 1)
    assert row(wide, "0.1 fixed").count("±") == 1 + len(pointed.tasks)
    assert [max(map(len, text.splitlines())) <= width for text, width in ((narrow, 60), (middle, 80))] == [
        True
    ] * 2


def test_many_tasks_are_split_into_blocks_and_none_is_lost(result: Result):
    assert result.evaluation is not None
    tasks = {f"a long benchmark name {number}": float(number) for number in range(30)}
    wide = Evaluation({c: Scores(tasks) for c in result.evaluation.candidates}, {}, {})
    text = printed(replace(result, evaluation=wide, selection=None))
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("0.1 fixed") > 1
    shown = [w.strip("^") for line in text.splitlines() if line.startswith("0.5 ") for w in line.split()[1:]]
    assert shown == ["14.5", *(f"{value:.1f}" for value in tasks.values())]


def test_off_a_terminal_there_are_no_control_characters(result: Result, plan: Plan):
    file = io.StringIO()
    console = Console(file)
    console.plan(plan)
    console.results(renamed(result, {task: f"{task}\x1b[31m\n" for task in result.tasks}))
    console.warn("careful \x07")
    console.finish(Path("/somewhere"), "load({})")
    assert all(letter.isprintable() or letter == "\n" for letter in file.getvalue())


def test_without_labels_there_are_differences_and_no_scores(result: Result):
    assert result.selection is not None
    text = printed(replace(result, evaluation=None))
    overall = result.selection.overall
    for candidate, value in overall.differences.items():
        words = [word.rstrip("*") for word in row(text, f"{candidate} ")]
        assert words[:2] == [f"{value:.0f}", f"{100 * overall.wins[candidate]:.0f}%"]
    for word in ("oracle", "regret", "By labels", "Mean over tasks"):
        assert word not in text


def test_a_task_without_labels_has_no_score_but_its_choice(result: Result):
    assert result.evaluation is not None
    part = {
        c: Scores({t: v for t, v in s.tasks.items() if t != "parity"})
        for c, s in result.evaluation.candidates.items()
    }
    text = printed(replace(result, evaluation=Evaluation(part, {}, {})))
    _, table = text.split("The choice, one winner per task")
    assert row(table, "parity")[-3:] == ["-", "-", "-"]
    assert row(table, "parity")[0] == str(result.selection.tasks["parity"].candidate)
    assert "donor a\n" in text.split("not run natively: ")[1]


def test_the_plan_accounts_for_all_tensors(plan: Plan):
    file = io.StringIO()
    Console(file, width=80).plan(plan)
    text = file.getvalue()
    coverage = plan.coverage()
    assert row(text, "merge ")[0] == str(coverage[0].tensors) == "4"
    assert row(text, "total")[0] == str(len(plan.slots))
    assert row(text, "keep   vision encoder")[-1] == f"{100 * coverage[1].bytes / 504_064:.0f}%"
    assert row(text, "a     vision encoder") == ["3"]
    assert row(text, "b     b has 3 layers") == ["1"]
    for description in (plan.target, *plan.donors.values()):
        assert description in text


def test_the_last_line_can_be_copied_whole(capsys: pytest.CaptureFixture[str]):
    folder = Path("/runs") / ("long" * 40) / "model"
    Console(width=80).finish(folder, "import package; model = package.load({})")
    *_, where, last = capsys.readouterr().out.splitlines()
    assert f" {folder}. " in where
    assert last == f"import package; model = package.load('{folder}')"


def test_paths_are_not_broken_nor_brackets_interpreted(capsys: pytest.CaptureFixture[str]):
    text = "plan: /" + "x" * 100 + " [bold]not markup[/bold]"
    Console(width=80).say(text)
    assert capsys.readouterr().out == text + "\n"


def test_the_tree_of_a_plan_fits_the_width(result: Result):
    assert result.plan is not None
    file = io.StringIO()
    Console(file, width=60).tree(result.plan)
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= 60
    assert sum(line.lstrip().startswith(("├── merged", "├── kept", "└── kept")) for line in lines) >= 2

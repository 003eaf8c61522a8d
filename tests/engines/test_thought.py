"""Thoughts: where they end, whoever's tags they have, and that nothing that is compared looks at them."""

from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from adamms.data.example import Label
from adamms.engines.answer import Answer, normalised
from adamms.engines.thought import (
    TAGS,
    opened_thought,
    split_thought,
    with_special_tags,
    with_thought_in_brief,
)
from adamms.evaluate.score import right
from adamms.evaluate.scorers import Anls, ExactAccuracy
from adamms.evaluate.vqa import VqaAccuracy
from adamms.merge.candidate import Candidate
from adamms.search.difference import ExactMatch
from adamms.search.evidence import Evidence, table
from adamms.search.signals.agreement import Vote


@pytest.mark.parametrize("opening", TAGS)
def test_every_familys_thought_is_cut_out(opening: str) -> None:
    closing = TAGS[opening]
    assert split_thought(f"\n{opening}\nIs it\nred?{closing}\n\nRed") == ("Is it\nred?", "Red")
    assert split_thought(f"Is it red? {closing}\n\nRed") == ("Is it red?", "Red")  # the prompt opened it
    assert split_thought(f"{opening}Is it") == ("Is it", None)
    assert split_thought(f"{opening}\n\n{closing}\n\nRed") == ("", "Red")
    assert opened_thought(f"question<|assistant|>{opening}\n") == opening
    assert opened_thought(f"{opening}\n\n{closing}\n\n") == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Red", "Red"),
        ("A tag such as <think> and one such as </think>", None),
        ("<think>a <think> b</think> c </think> d", "c </think> d"),
        ("<think>It is four.</think><answer><|begin_of_box|>4<|end_of_box|></answer>", "4"),
        ("<|begin_of_thought|>a<|end_of_thought|>\n<|begin_of_solution|>b<|end_of_solution|>", "b"),
        ("<answer>4</answer>", None),
        ("", None),
    ],
)
def test_what_is_said(text: str, said: str | None) -> None:
    """None: all of it."""
    assert split_thought(text)[1] == (text if said is None else said)


def test_for_people_a_thought_is_a_length() -> None:
    assert with_thought_in_brief("<think>a b\nc</think>\n\nRed") == "[thought of 3 words] Red"
    assert with_thought_in_brief("<think>a") == "[thought of 1 word, cut off]"
    assert with_thought_in_brief("<think>\n\n</think>\n\nRed") == with_thought_in_brief("Red") == "Red"


def test_thoughts_count_nowhere() -> None:
    thought, plain = "<think>blue or green</think>Red", "red"
    assert normalised(thought) == plain
    assert ExactMatch()([thought, "<think>red"], [plain, plain]).tolist() == [0.0, 1.0]
    label, options = Label(("red",)), Label(("B",), {"A": "blue", "B": "red"})
    for scorer in (ExactAccuracy(), Anls(threshold=0.5)):
        assert right(scorer, thought, label) == right(scorer, thought, options) == 1.0
        assert right(scorer, "<think>red", label) == right(scorer, "<think>B", options) == 0.0
    assert right(ExactAccuracy(), "<think>no</think> Yes.", Label(("yes",))) == 1.0
    assert right(VqaAccuracy(), thought, Label(("red",) * 10)) == 1.0


def test_signals_see_what_is_said_alone() -> None:
    first, second = Candidate(0.1), Candidate(0.2)
    given = {first: {"e": Answer("<think>x</think>red")}, second: {"e": Answer("<think>y</think>Red")}}
    evidence = Evidence(given, donors={"a": {"e": Answer("blue")}})
    assert table(given, ["e"]) == [["red"], ["Red"]]
    assert np.array_equal(Vote(weighted=False).differences(evidence, ["e"], ExactMatch()), [[0], [0]])


def test_tags_that_are_special_tokens_are_not_lost(miniature: Path) -> None:
    """Magistral's are: decoded without special tokens, its thought would run on into its answer."""
    tokenizer = AutoTokenizer.from_pretrained(miniature / "target")
    plain = tokenizer("read red", add_special_tokens=False)["input_ids"]
    assert with_special_tags(tokenizer, plain, tokenizer.decode(plain)) == tokenizer.decode(plain)
    tokenizer.add_special_tokens({"additional_special_tokens": ["[THINK]", "[/THINK]", "[END]"]})
    ids = tokenizer("[THINK]read[/THINK]red[END]", add_special_tokens=False)["input_ids"]
    text = tokenizer.decode(ids, skip_special_tokens=True)
    assert "THINK" not in text
    assert split_thought(with_special_tags(tokenizer, ids, text)) == ("read", "red")

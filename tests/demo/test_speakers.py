"""A pair that speaks in sentences: its own vocabulary and wordings, the other pairs' architectures."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adamms.data.digits import Glyphs, Skill
from adamms.data.sentences import TARGET_SKILLS
from adamms.demo import batches, factory, language
from adamms.demo.training import Regime
from adamms.errors import AdammsError
from adamms.report.console import Console


def test_the_pair_has_a_vocabulary_of_its_own(tmp_path: Path, silent: Console, tiny_regime: Regime) -> None:
    folder = tmp_path / "pair"
    regime = replace(tiny_regime, target_skills=("list_all",), donor_skills=("read_down",))
    factory.build(folder, pair="sentences", regime=regime, console=silent)
    assert json.loads((folder / factory.MANIFEST).read_text())["pair"] == "sentences"
    words = language.word_ids(language.SENTENCES)
    for name in ("ancestor", "target", "donor"):
        assert json.loads((folder / name / "tokenizer.json").read_text())["model"]["vocab"] == words
        config = json.loads((folder / name / "config.json").read_text())
        assert {**config, **config.get("text_config", {})}["vocab_size"] == len(words)


def test_skills_of_another_language_are_refused(tmp_path: Path, silent: Console, tiny_regime: Regime) -> None:
    with pytest.raises(AdammsError, match=r"A skill of the demo's pair sentences is 'read'; expected one of"):
        factory.build(tmp_path / "none", pair="sentences", regime=tiny_regime, console=silent)


@pytest.mark.parametrize(("pupil", "used"), [("target", {0, 1}), ("donor", {1, 2})])
def test_target_and_donor_word_things_differently(pupil: str, used: set[int]) -> None:
    skill = next(skill for skill in TARGET_SKILLS if skill.name == "say_largest")
    texts = said(skill, batches.WORDINGS[pupil])
    starts = ("the largest digit", "no digit is above", "i see no digit above")
    assert {
        place for place, start in enumerate(starts) if any(text.startswith(start) for text in texts)
    } == used


def said(skill: Skill, wordings: slice) -> set[str]:
    """What fine-tuning on one skill teaches to say."""
    stream = batches.image_batches(
        np.random.default_rng(0),
        language.SENTENCES,
        Glyphs.load("train"),
        (language.TARGET_IMAGE,) * 4,
        16,
        1,
        [skill],
        wordings,
        caption=False,
    )
    words = [*language.vocabulary(language.SENTENCES), ""]
    labels = next(stream).labels
    rows = labels.where(labels != language.IGNORE, len(words) - 1).tolist()
    return {" ".join(words[place] for place in row if words[place]) for row in rows}

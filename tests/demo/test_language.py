"""The shared vocabulary covers everything that is ever said, and the tokenizer agrees with it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from adamms.data import sentences
from adamms.data.digits import SKILLS, Skill, ask, draw_scene
from adamms.demo import language

TOKENIZER = language.tokenizer()
SENTENCES = language.tokenizer(language.SENTENCES)


@given(st.lists(st.sampled_from([w for w in language.vocabulary() if w not in language.SPECIAL]), min_size=1))
def test_tokenizer_round_trip(words: list[str]) -> None:
    tokenizer = TOKENIZER
    text = " ".join(words)
    ids = tokenizer(text)["input_ids"]
    assert ids == [language.word_ids()[word] for word in words]
    assert tokenizer.decode([*ids, tokenizer.eos_token_id], skip_special_tokens=True) == text


def test_special_tokens_need_no_spaces() -> None:
    tokenizer = language.tokenizer()
    text = f"{language.VISION_START}{language.TARGET_IMAGE}{language.VISION_END}read green"
    ids = language.word_ids()
    expected = [ids[w] for w in (language.VISION_START, language.TARGET_IMAGE, language.VISION_END)]
    assert tokenizer(text)["input_ids"] == [*expected, ids["read"], ids["green"]]


@given(st.integers(0, 2**32))
def test_everything_said_is_in_the_vocabulary(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = language.word_ids()
    scene = draw_scene(rng)
    turns = [(question, answer) for skill in SKILLS for question, (answer,) in [ask(skill, scene, rng)]]
    turns.append((language.CAPTION, language.caption(scene)))
    tokens, labels = language.dialogue(language.text_scene(scene, rng), turns, ids)
    assert len(tokens) == len(labels)
    assert all(label in (language.IGNORE, token) for token, label in zip(tokens, labels, strict=True))
    assert labels.count(ids[language.END]) == len(turns)
    assert all(len(answer.split()) == 1 for _, answer in turns[:-1])


@given(st.integers(0, 2**32))
def test_text_scene_tells_the_scene(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = draw_scene(rng)
    words = set(language.text_scene(scene, rng))
    assert words - {language.FILLER} == {f"{item.colour}{item.digit}" for item in scene.items}
    assert set(language.caption(scene).split()) == words - {language.FILLER}


@given(st.integers(0, 2**32), st.sampled_from(language.SENTENCES.skills))
def test_sentences_are_in_their_own_vocabulary(seed: int, skill: Skill) -> None:
    """A tokenizer of that language says each wording as it is; a demo's one could not."""
    rng = np.random.default_rng(seed)
    question, answers = ask(skill, draw_scene(rng), rng)
    ids = language.word_ids(language.SENTENCES)
    for text in (question, *answers):
        assert SENTENCES(text)["input_ids"] == [ids[word] for word in text.split()]
    assert len(set(answers)) == 3
    assert all(5 <= len(answer.split()) <= 25 for answer in answers)


def test_every_word_of_the_sentences_is_said() -> None:
    """Special tokens are the same in both languages, in the same places."""
    rng = np.random.default_rng(0)
    scenes = [draw_scene(rng) for _ in range(100)]
    texts = [
        text for skill in language.SENTENCES.skills for one in scenes for text in ask(skill, one, rng)[1]
    ]
    assert set(sentences.WORDS) <= {word for text in texts for word in text.split()}
    assert language.vocabulary(language.SENTENCES)[: len(language.SPECIAL)] == list(language.SPECIAL)

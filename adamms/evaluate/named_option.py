"""Which option of a multiple-choice question an answer names, and which one a label names."""

import re
from collections.abc import Container, Mapping

from adamms.data.example import Label
from adamms.data.options import split_letter
from adamms.engines.answer import normalised, plain
from adamms.errors import AdammsError

Options = Mapping[str, str]  # letter -> text

# What may stand around a letter or a text without being part of it.
AROUND = " \t\n*_`\"'()[]{}<>.:,;!"
ANSWER_IS = re.compile(
    r"\banswers?\b[\s*_]*(?:(?:is|are|was|would be|should be|must be)\b)?[\s:*_]*", re.IGNORECASE
)
# What may come between "the answer is" and its letter, and between two letters of a list.
BEFORE = re.compile(
    r"[\W_]*(?:(?:option|choice|letter|either|both|clearly|probably|most likely)\b[\W_]*)*", re.IGNORECASE
)
BETWEEN = re.compile(r"[\s)\]*_]*(?:[,/&+]|\b(?:and|or)\b)[\W_]*(?:option\b\W*)?", re.IGNORECASE)
# What words are made of, in scripts that put spaces between words (not Thai, Chinese, Japanese, Korean).
OF_A_WORD = r"[^\W_\u0e00-\u0eff\u1100-\u11ff\u2e80-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]"
# A letter by itself: not one of "vitamin-C", "U.S.", "I'm", "C++" or "B-52".
ALONE = rf"(?<!{OF_A_WORD})(?<!['.+#-])%s(?!{OF_A_WORD}|['+#]|[-.]{OF_A_WORD})"
CAPITAL, SMALL = ALONE % "([A-Z])", ALONE % "([a-z])"
# Small letters are words, too: one counts in brackets, after "option", before a mark, or at the end.
SMALL_MARKED = rf"\([ ]?{SMALL}[ ]?\)|\b(?:option|choice)\W+{SMALL}|^\W*{SMALL}[).:](?=\s|$)"
MENTION = re.compile(f"{CAPITAL}|{SMALL_MARKED}", re.MULTILINE)
NEXT = re.compile(rf"{CAPITAL}|{SMALL}(?=\W*$|[)\].:,;])", re.MULTILINE)
# "A" and "I" before a word are words themselves, unless the word is one of these.
WORD = re.compile(r"[ \t]+(?!(?:and|or|is|was|because|since|as|but)\b)(?:[^\W_]{2}|\d)", re.IGNORECASE)
# What is denied is not named: "It is not A", "B is wrong".
NOT = re.compile(
    r"(?:\b(?:not|never|neither|nor|cannot)|n't)\W+(?:(?:be|a|an|the|option|choice|answer)\W+)*$",
    re.IGNORECASE,
)
WRONG = re.compile(r"[\W_]*\b(?:is|are|was)(?:n't|\s+(?:not|wrong|incorrect|false)\b)", re.IGNORECASE)
# "no" before a word is a "no idea" or a "no car", unless the word begins a sentence.
NO = r"no(?![ \t]+(?!(?:it|there|this|that|these|he|she|they|the|we|you|i)\b)[^\W_])"


def named(answer: str, options: Options) -> str | None:
    """The letter of the one option that an answer names; None where it names none, or several.

    An answer is a letter or an option's text; or it says what "the answer is"; or it mentions one of them.

    >>> [named(text, {"A": "red", "B": "blue"}) for text in ("(B)", "B. blue", "It is blue.", "A or B")]
    ['B', 'B', 'B', None]
    """
    text = plain(answer).strip()
    statements = [found.end() for found in ANSWER_IS.finditer(text)]
    stated = text[statements[0] :].strip() if len(statements) == 1 else ""
    if whole := _whole(text, options) or _whole(stated, options):
        return whole
    # "A and B", "Vitamin C" and "B-52" hold no letter where they are options' texts.
    inside = {place for found in _texts(options).finditer(text) for place in range(*found.span())}
    letters = [pair for start in statements for pair in _listed(text, start, options, inside)]
    if not letters:
        mentions = MENTION.finditer(text)
        letters = [pair for found in mentions if (pair := _mentioned(found, text, options, inside))]
    if len({letter for letter, _ in letters}) > 1:
        return None
    for letter, rest in letters:
        text_there = _first_text(rest, options)
        if text_there not in (None, letter):
            return None
    return letters[0][0] if letters else _mentioned_text(text[statements[-1] if statements else 0 :], options)


def right_letters(label: Label) -> frozenset[str]:
    """The letters of the options that a label accepts.

    Raises:
        AdammsError: an accepted answer names no option, or two.
    """
    return frozenset(_right_letter(plain(text).strip(), label) for text in label.accepted)


def says_yes_or_no(answer: str) -> str | None:
    """ "yes" or "no"; None for an answer that says neither, or both.

    >>> says_yes_or_no("Yes, there is."), says_yes_or_no("I do not know."), says_yes_or_no("No idea.")
    ('yes', None, None)
    """
    said = set(re.findall(rf"\b(yes|{NO})\b", plain(answer).casefold()))
    return said.pop() if len(said) == 1 else None


def _whole(text: str, options: Options) -> str | None:
    """The option that a text names and says no more: by its letter, its text, or both."""
    letter, rest = split_letter(text)
    if letter in options and _same(rest, options[letter]):
        return letter
    return _letter(text, options) or _by_text(text, options)


def _right_letter(text: str, label: Label) -> str:
    options = label.options
    letter, by_text = _letter(text, options), _by_text(text, options)
    if letter and by_text and letter != by_text:
        raise AdammsError(
            f"the label {text!r} is the letter of {options[letter]!r} and the text of option {by_text}; "
            f"expected letter and text: '{letter}. {options[letter]}', or '{by_text}. {options[by_text]}'"
        )
    both, rest = split_letter(text)
    if both in options and _same(rest, options[both]):
        return both
    if found := letter or by_text:
        return found
    choices = ", ".join(f"{letter}. {option}" for letter, option in options.items())
    raise AdammsError(
        f"the label {text!r:.60} names no option; expected a letter or a text of {choices:.200}"
    )


def _letter(text: str, options: Options) -> str | None:
    core = text.strip(AROUND).upper()
    return core if core in options else None


def _by_text(text: str, options: Options) -> str | None:
    """The option whose text this is; exactly, where two differ only in case or marks."""
    same = [letter for letter, option in options.items() if _same(text, option)]
    exactly = [letter for letter in same if plain(options[letter]).strip() == text]
    found = same if len(same) == 1 else exactly
    return found[0] if len(found) == 1 else None


def _same(text: str, option: str) -> bool:
    core = _core(option)
    return _core(text) == core if core else normalised(text) == normalised(option)


def _core(text: str) -> str:
    return normalised(text).strip(AROUND)


def _mentioned(
    found: re.Match[str], text: str, options: Options, inside: Container[int]
) -> tuple[str, str] | None:
    """The letter that was found, if it is an option's and no word, and what comes after it."""
    group = found.lastindex or 0
    letter, rest = found[group].upper(), text[found.end() :]
    if letter not in options or found.start(group) in inside or _is_denied(found, text):
        return None
    if letter in "AI" and WORD.match(rest) and _first_text(rest, options) != letter:
        return None
    return letter, rest


def _listed(text: str, start: int, options: Options, inside: Container[int]) -> list[tuple[str, str]]:
    """The letters that a statement begins with: one, or a list such as "A and B"."""
    letters: list[tuple[str, str]] = []
    place = BEFORE.match(text, start)
    while place and (found := NEXT.match(text, place.end())):
        pair = _mentioned(found, text, options, inside)
        if pair is None:
            break
        letters.append(pair)
        place = BETWEEN.match(text, found.end())
    return letters


def _texts(options: Options) -> re.Pattern[str]:
    """Finds an option's text as whole words; the longest first, no single letters."""
    cores = {_core(option) for option in options.values()}
    cores = {core for core in cores if len(core) > 1 or core.isdigit()}
    longest = sorted(cores, key=lambda core: (-len(core), core))
    either = "|".join(NO if core == "no" else re.escape(core).replace(r"\ ", r"\s+") for core in longest)
    before, after = rf"(?<!{OF_A_WORD})(?<![_-])(?<!\d[.,:])", rf"(?!{OF_A_WORD}|_|[.,:]\d)"
    return re.compile(f"{before}({either or '(?!)'}){after}", re.IGNORECASE)


def _first_text(rest: str, options: Options) -> str | None:
    """The option whose text comes next."""
    said = normalised(rest).lstrip(AROUND)
    found = _texts(options).match(said) or _texts(options).match(said.lstrip(AROUND + "-="))
    return _by_text(found[1], options) if found else None


def _mentioned_text(text: str, options: Options) -> str | None:
    """The one option whose text is mentioned, and not denied."""
    said = normalised(text)
    found = {each[1] for each in _texts(options).finditer(said) if not _is_denied(each, said)}
    return _by_text(found.pop(), options) if len(found) == 1 else None


def _is_denied(found: re.Match[str], text: str) -> bool:
    return bool(NOT.search(text[: found.start()]) or WRONG.match(text[found.end() :]))

"""The words of an answer, and which of them say nothing. Knows no models and no labels."""

import re

from adamms.engines.answer import normalised

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
DIGITS = {word: str(number) for number, word in enumerate(NUMBERS)} | {"none": "0"}
ARTICLES = ("a", "an", "the")
# Scripts without spaces between words: kana and Chinese characters. Every character counts as a word.
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"(?<!\w)-?\d+(?:[.,:/]\d+)*|\d+|[{UNSPACED}]|[^\W\d_{UNSPACED}]+(?:'[^\W\d_]+)*")
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


def words(text: str) -> list[str]:
    """Without case, punctuation and articles, and with digits for number words.

    Articles alone are kept, for "A" is the name of an option, and so are marks alone.

    >>> words("The two dogs: 1,200 of them!"), words("(A)"), words("?")
    (['2', 'dogs', '1200', 'of', 'them'], ['a'], ['?'])
    """
    found = WORD.findall(THOUSANDS.sub("", given := normalised(text)))
    said = [DIGITS.get(word, word) for word in found if word not in ARTICLES]
    return said or found or ([given] if given else [])

"""VQA accuracy: how many of about ten people gave this answer. Knows no tasks and no models."""

import re

from adamms.data.example import Label
from adamms.engines.answer import normalised
from adamms.engines.words import ARTICLES, DIGITS
from adamms.errors import AdammsError

AGREEING = 3  # people who make an answer wholly right
PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
STOP = re.compile(r"\.(?!\d)")
COMMA_IN_NUMBER = re.compile(r"\d,\d")
# Words that get the one apostrophe back that they lack: "dont", "couldn'tve".
CONTRACTED = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't
he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've
mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't
shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's
something'd've something'll that's there'd there'd've there're there's they'd they'd've they'll they're
they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's where'd where's
where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've
y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
CONTRACTIONS = {
    word[:place] + word[place + 1 :]: word
    for word in CONTRACTED.split()
    for place, letter in enumerate(word)
    if letter == "'"
} | {"somebody'd": "somebodyd"}


class VqaAccuracy:
    """min(1, n / 3) for n people with the same answer, averaged over all people left out in turn.

    Antol et al. 2015 (ICCV, arXiv:1505.00468), section 5, with the answer processing of the authors' code
    (github.com/GT-Vision-Lab/VQA): lower case, digits for number words, no punctuation, no articles. As the
    paper says and lmms-eval does, it is always applied; the authors' code leaves the texts alone where all
    people agree.
    An empty answer is never right.
    """

    measure = "VQA accuracy"

    def __call__(self, answer: str, label: Label) -> float:
        if not normalised(answer):
            return 0.0
        said = processed(answer)
        same = [processed(text) == said for text in label.accepted]  # one for each person
        return sum(min(1.0, (sum(same) - own) / AGREEING) for own in same) / len(same)

    def check(self, label: Label) -> None:
        """Raise AdammsError for answers of so few people that none can be wholly right."""
        if (count := len(label.accepted)) <= AGREEING:
            raise AdammsError(
                f"the label has {count} answer{'s' * (count > 1)}; VQA accuracy counts people who agree: "
                f"expected a list of ten people's answers, at least {AGREEING + 1}. evaluate=accuracy takes "
                f"any accepted answer for right"
            )


def processed(answer: str) -> str:
    """The answer as the VQA evaluation compares it.

    >>> processed("The two dogs, dont run.")
    "2 dogs don't run"
    """
    text = given = normalised(answer)
    in_number = COMMA_IN_NUMBER.search(given)
    for mark in PUNCTUATION:
        apart = f"{mark} " in given or f" {mark}" in given
        text = text.replace(mark, "" if apart or in_number else " ")
    words = (DIGITS.get(word, word) for word in STOP.sub("", text).split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)

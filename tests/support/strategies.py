"""The searches and signals of conf/search, built once, and searches over answers that are written down."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from command import CONF
from hydra import compose, initialize_config_dir

from adamms.app.settings import read
from adamms.engines.answer import Answer
from adamms.merge.candidate import Candidate
from adamms.search.choice import Selection
from adamms.search.evidence import recorded
from adamms.search.signals.consistency import Consistency
from adamms.search.signals.signal import Signal
from adamms.search.strategy import Strategy


@cache
def shipped(*overrides: str) -> Any:
    """What `search` is with these overrides, e.g. "search=trusted"."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides=["mode=plan", *overrides, "output=out", "cache=cache"])
    return read(config).strategy


def signal(name: str, *overrides: str) -> Signal:
    """That of conf/search/signal/NAME.yaml."""
    found: Signal = shipped(f"search/signal={name}", *overrides).signal
    return found


def paper(rule: str | None = None, **options: Any) -> Strategy:
    """search=adamms, with other values of its fields."""
    made: Strategy = replace(shipped("search=adamms"), **options)
    return made if rule is None else replace(made, signal=Consistency(rule))  # type: ignore[arg-type]


def trusted(**options: Any) -> Strategy:
    """search=trusted without bisection, with other values of its fields."""
    made: Strategy = replace(shipped("search=trusted"), **{"bisection": None} | options)
    return made


def chosen(
    strategy: Strategy,
    answers: Mapping[Candidate, Mapping[str, str]],
    tasks: Mapping[str, Sequence[str]],
) -> Selection:
    """The choice from answers that are written down: candidate -> example id -> text."""
    known = {c: {e: Answer(text) for e, text in given.items()} for c, given in answers.items()}
    return strategy.choose(recorded(known), sorted(known), tasks)

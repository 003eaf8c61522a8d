"""`config.merge` as typed values: alpha, how it is shared by several donors, and the rules of exceptions.

Like `compose`, above the layers. What they amount to is in `adamms.merge`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from adamms.app.arguments import check_arguments
from adamms.errors import AdammsError
from adamms.merge.method import Method
from adamms.merge.rules import Rule

NAME = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class Merging:
    """How models are merged: what `config.merge` says.

    Args:
        method: the arithmetic.
        alpha: the donors' share together, or each donor's by name.
        weights: donor name -> its part of the donors' common share; None for equal parts.
        rules: where the donors' share is another one.
    """

    method: Method
    alpha: float | Mapping[str, float]
    weights: Mapping[str, float] | None = None
    rules: tuple[Rule, ...] = ()


def alpha_of(config: DictConfig) -> float | Mapping[str, float]:
    """merge.alpha: a number, or donor name -> share."""
    alpha = config.merge.alpha
    return OmegaConf.to_container(alpha) if isinstance(alpha, DictConfig) else alpha  # type: ignore[return-value]


def weights_of(config: DictConfig) -> Mapping[str, float] | None:
    """merge.weights: donor name -> number, or null."""
    weights = config.merge.get("weights")
    if weights is not None and not isinstance(weights, DictConfig):
        plain = OmegaConf.to_container(weights) if isinstance(weights, ListConfig) else weights
        raise AdammsError(f"merge.weights is {plain!r}; expected {{donor name: number}}")
    return None if weights is None else OmegaConf.to_container(weights)  # type: ignore[return-value]


def rules_of(config: DictConfig) -> tuple[Rule, ...]:
    """merge.rules: where the donors' share is another one, in order; a list, or a mapping of named rules.

    A number of a named rule has a key, as merge.rules.attn.factor, by which a search can reach it.
    """
    given = config.merge.get("rules")
    if given is None:
        return ()
    named: list[tuple[str, Any]] = []
    if isinstance(given, DictConfig):
        for name in given:
            if not NAME.fullmatch(str(name)):
                raise AdammsError(f"merge.rules: the name {name!r} is no key; expected letters, digits and _")
        named = [(f"merge.rules.{name!s}", given[name]) for name in given]
    elif isinstance(given, ListConfig):
        named = [(f"merge.rules[{number}]", rule) for number, rule in enumerate(given)]
    if not isinstance(given, DictConfig | ListConfig) or not all(isinstance(r, DictConfig) for _, r in named):
        raise AdammsError(
            "merge.rules is not a list of rules; expected [{roles: [attn], factor: [0.5, 1]}, ...], or a "
            "mapping of named ones, {attn: {roles: [attn], factor: 1}, ...}"
        )
    return tuple(_rule(OmegaConf.to_container(rule), where) for where, rule in named)


def _rule(given: Any, where: str) -> Rule:
    values = check_arguments(Rule, {str(key): value for key, value in given.items()}, where)
    settings: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }
    return Rule(**settings)

"""The settings of a mergekit YAML at one tensor: numbers, gradients over the layers, filters by name.

Reads them as mergekit does. Knows no method.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adamms.errors import AdammsError

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Reading:
    """What a YAML says of one tensor.

    >>> settings = {"weight": [{"filter": "mlp", "value": [0, 1]}, {"value": 0.5}]}
    >>> Reading("layers.1.mlp", 0.25, ("a",), {}, (settings,)).number("weight")
    0.25

    Args:
        tensor: its name in the target.
        place: from 0 in the first layer of its slice to 1 in the last; 0 of a tensor that is in no layer.
        models: TARGET and donors that this slice is made of, in the YAML's order, without the base of task
            vectors.
        own: model -> its own settings.
        common: those of the slice and those of the merge; the first that says something counts.
    """

    tensor: str
    place: float
    models: Sequence[str]
    own: Mapping[str, Settings]
    common: Sequence[Settings]

    def number(
        self,
        key: str,
        otherwise: float | None = None,
        model: str | None = None,
        least: float = -math.inf,
        most: float = math.inf,
    ) -> float:
        """A number of the merge, or of a model.

        Raises:
            AdammsError: it is no number, out of range, or missing.
        """
        found = self._found(key, model)
        if found is None:
            found = otherwise
        if found is None:
            of = "" if model is None else f" of the model {model}"
            raise AdammsError(f"recipe: {key}{of} is missing for {self.tensor}")
        number = _number(key, found)
        if not least <= number <= most:
            expected = f"a number in [{least:g}, {most:g}]" if most < math.inf else f"at least {least:g}"
            raise AdammsError(f"recipe: {key} is {number:g}; expected {expected}")
        return number

    def share(self, key: str, otherwise: float | None = None, model: str | None = None) -> float:
        """The same, from 0 to 1."""
        return self.number(key, otherwise, model, 0, 1)

    def shares(self, key: str, otherwise: float | None = None) -> dict[str, float]:
        """Model -> its number from 0 to 1."""
        return {model: self.share(key, otherwise, model) for model in self.models}

    def numbers(self, key: str, otherwise: float | None = None) -> dict[str, float]:
        """Model -> its number."""
        return {model: self.number(key, otherwise, model) for model in self.models}

    def flag(self, key: str, otherwise: bool) -> bool:
        """Something that is true or false."""
        found = self._found(key, None)
        if not isinstance(found, bool | None):
            raise AdammsError(f"recipe: {key} is {found!r}; expected true or false")
        return otherwise if found is None else found

    def says(self, key: str) -> bool:
        """Whether there is such a setting for this tensor."""
        return self._found(key, None) is not None

    def _found(self, key: str, model: str | None) -> Any:
        for settings in (*([self.own.get(model, {})] if model is not None else []), *self.common):
            if key in settings:
                value = valued(key, settings[key], self.tensor, self.place)
                if value is not None:
                    return value
        return None


def valued(key: str, setting: Any, tensor: str, place: float) -> Any:
    """The value of a setting for a tensor; None where no filter takes it.

    Args:
        setting: a value, a list of values along the layers, or conditions {filter, value}.
        place: between the first (0) and the last of a list's values (1).
    """
    if isinstance(setting, Mapping):
        setting = [setting]
    if not isinstance(setting, list | tuple):
        return setting
    if any(isinstance(each, Mapping) for each in setting):
        for condition in setting:
            if not isinstance(condition, Mapping) or "value" not in condition:
                raise AdammsError(
                    f"recipe: {key} has {condition!r} among conditions; expected value, and filter if need be"
                )
            wanted = condition.get("filter")
            if wanted in (None, "*") or str(wanted) in tensor:
                return valued(key, condition["value"], tensor, place)
        return None
    if not setting:
        return None
    first = int(place * (len(setting) - 1))
    if any(isinstance(each, bool) for each in setting):
        return setting[first]
    numbers = [_number(key, each) for each in setting]
    part = place * (len(setting) - 1) - first
    return (1 - part) * numbers[first] + part * numbers[min(len(setting) - 1, first + 1)]


def _number(key: str, value: Any) -> float:
    """The value as a number; YAML reads 1e-5 as a text."""
    try:
        if isinstance(value, bool) or not math.isfinite(float(value)):
            raise ValueError
        return float(value)
    except (TypeError, ValueError) as error:
        raise AdammsError(
            f"recipe: {key} is {value!r}; expected a finite number, or a list of them"
        ) from error

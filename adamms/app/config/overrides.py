"""What was typed: its line breaks, and what has no effect, or another one than was meant. Knows no models."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from adamms.report.trackers.tracker import Job

DEMO_DATA = "digits"
NAME_DATA = "these models have no default data: data=file data.path=FILE, data=benchmarks or data=digits"
NO_CONTROL = (
    "the donor is the ancestor itself, so the control would be the merge: evaluate.control is left out"
)
OWN = ("model.target", "model.donors", "model.ancestor", "model_folder", "data.path")
# What a search in logs does not look at. The choice of a model keeps the demo's settings away.
IGNORED_WITH_LOGS = (
    "model.*",
    "mapper",
    "merge",
    "tune",
    "data",
    "search.grid",
    "store",
    "plan",
    "max_shard_gb",
)
# Texts in which a backslash and n is a line break, as a command line has no other: (group, key).
TEXTS = [("data", key) for key in ("prompt", "choice_prompt", "prompts", "choice_prompts")]
TEXTS += [("engine", "stop"), ("mode", "message")]


def values_of(config: DictConfig) -> Any:
    """What is configured, with interpolations filled in and line breaks made of typed ones."""
    values: Any = OmegaConf.to_container(config, resolve=True)
    for group, key in TEXTS:
        if isinstance(values.get(group), dict) and key in values[group]:
            values[group][key] = _with_line_breaks(values[group][key])
    return values


def overlooked(job: Job, mode: str, ignores: Sequence[str], values: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each override that the mode does not look at.

    Args:
        job: what was typed.
        mode: its name.
        ignores: full keys that the mode does not look at, with all below; "merge.*" is all below alone.
        values: the whole configuration.
    """
    for item in job.overrides:
        key, value = _parts(item)
        ignored = any(_covers(ignored, key) for ignored in ignores)
        if not item.startswith("~") and (ignored or _only_names(key, value, ignores, values)):
            yield f"mode={mode} does not look at {item}"


def with_demo_settings(job: Job, engine: Mapping[str, Any]) -> Iterator[str]:
    """A sentence where the demo's settings apply to models or data of one's own, as no model was chosen."""
    typed, experiment = dict(map(_parts, job.overrides)), job.choices.get("experiment")
    if experiment != job.choices.get("model") or {"model", "experiment"} & set(typed):
        return
    for key, value in typed.items():
        if key.startswith(OWN) or (key == "data" and value != DEMO_DATA):
            yield (
                f"{key}={value} gets the settings of model={experiment}, the default: engine.max_new_tokens="
                f"{engine.get('max_new_tokens')} and others. For models of your own: model=custom"
            )
            return


def data_is_named(job: Job) -> bool:
    """Whether the data are other than the demo's, or were chosen."""
    chosen = any(key == "data" or key.startswith("data.") for key, _ in map(_parts, job.overrides))
    return chosen or job.choices.get("data") != DEMO_DATA


def _parts(item: str) -> tuple[str, str]:
    """Key, with dots, and value of an override."""
    key, _, value = item.lstrip("+~").partition("=")
    return key.replace("/", "."), value


def _covers(ignored: str, key: str) -> bool:
    below = ignored.removesuffix(".*")
    return key.startswith(f"{below}.") or key == ignored


def _only_names(key: str, value: str, ignores: Sequence[str], values: Mapping[str, Any]) -> bool:
    """Whether a group's option, e.g. evaluate=accuracy, names objects that are ignored; of a list, one."""
    node = values.get(key)
    inside = node.items() if isinstance(node, dict) else ()
    named = [f"{key}.{name}" for name, inner in inside if isinstance(inner, dict)]
    unused = [name for name in named if name in ignores]
    return bool(unused) and (unused == named or value.startswith("["))


def _with_line_breaks(value: Any) -> Any:
    """A line break for every backslash and n; two backslashes and n are one backslash and n."""
    if isinstance(value, Mapping):
        return {key: _with_line_breaks(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_line_breaks(inner) for inner in value]
    if isinstance(value, str):
        return re.sub(r"\\(\\?)n", lambda found: "\\n" if found[1] else "\n", value)
    return value

"""Objects as a configuration makes them: conf/ gives the values, a test only those that it is about."""

from typing import Any

from command import CONF
from omegaconf import OmegaConf

from adamms.app.config.build import build

# Keys of a group that no object takes.
COMMON = {
    "merge": ("alpha", "weights", "rules", "schedule", "device"),
    "search": ("grid", "samples", "seed", "logprobs", "space"),
}


def configured(option: str, **values: Any) -> Any:
    """What `conf/OPTION.yaml` describes, with these values in the place of its own.

    Args:
        option: e.g. "merge/ties".
        values: plain values, or objects.
    """
    group = option.split("/")[0]
    node = {key: value for key, value in content(option).items() if key not in COMMON.get(group, ())}
    return build(node | values, option.replace("/", "."))


def content(option: str) -> dict[str, Any]:
    """The YAML's values over those of its defaults, without interpolations."""
    group, _, _ = option.rpartition("/")
    own: Any = OmegaConf.to_container(OmegaConf.load(CONF / f"{option}.yaml"))  # which reads 1e-5 as a number
    found: dict[str, Any] = {}
    for default in own.pop("defaults", []):
        if isinstance(default, dict):
            for below, name in default.items():
                if name is not None:
                    found[below] = content(f"{group}/{below}/{name}")
        elif default != "_self_":
            found |= content(f"{group}/{default}")
    given = {key: value for key, value in own.items() if not (isinstance(value, str) and "${" in value)}
    return found | given

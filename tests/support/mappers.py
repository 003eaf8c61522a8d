"""Mappers as conf/mapper/ has them, with some values changed."""

from pathlib import Path
from typing import Any

import yaml

from adamms.mapping.content.discover import DiscoverMapper
from adamms.mapping.specs.resolve import SpecMapper

OPTIONS = {
    name: {
        key: value
        for key, value in yaml.safe_load(
            (Path(__file__).parents[2] / f"conf/mapper/{name}.yaml").read_text()
        ).items()
        if not key.startswith("_")
    }
    for name in ("spec", "discover")
}


def spec_mapper(**changes: Any) -> SpecMapper:
    return SpecMapper(**OPTIONS["spec"] | changes)


def discover_mapper(**changes: Any) -> DiscoverMapper:
    return DiscoverMapper(**OPTIONS["discover"] | changes)

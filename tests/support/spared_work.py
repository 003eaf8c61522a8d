"""What every run in the tests' process would do again with the same result, or with one that nobody reads.

Hydra finds and reads the same files for every configuration: what it makes of `conf` and `sweeps` is kept for
each choice of options, and copied (0.03 s, not 0.2: a third of a small run). Values are set, checked and read
as ever, as is what any other folder has. transformers writes each configuration that it reads into a line of
a log that is off (6 % of a search).
"""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra import version
from hydra._internal import config_loader_impl as loader
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import IConfigRepository
from hydra._internal.defaults_list import DefaultsList, Overrides
from hydra.core.default_element import ResultDefault
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from adamms.architectures import spec
from adamms.architectures.lines import Line

ROOT = Path(__file__).resolve().parents[2]
STEADY = {"", *(str(ROOT / folder) for folder in ("conf", "sweeps"))}  # no test changes a file in them


def sources(repo: IConfigRepository) -> tuple[str, ...] | None:
    """Where the configuration comes from; None if a file in it may change."""
    found = repo.get_sources()
    steady = all(one.scheme() in ("pkg", "structured") or one.path in STEADY for one in found)
    return (str(version.getbase()), *(f"{one.scheme()}://{one.path}" for one in found)) if steady else None


class Composed:
    """Lists of defaults, and what the files that they list add up to, by the chosen options."""

    def __init__(self) -> None:
        self.lists: dict[str, DefaultsList] = {}
        self.configs: dict[str, DictConfig] = {}
        self.list_of, self.config_of = (
            loader.create_defaults_list,
            ConfigLoaderImpl._compose_config_from_defaults_list,
        )

    def defaults(self, repo: IConfigRepository, overrides_list: list[Override], **given: Any) -> DefaultsList:
        place, chosen = sources(repo), Overrides(repo, overrides_list)
        added = [vars(one) for one in chosen.append_group_defaults]
        key = repr((place, given, chosen.override_choices, chosen.deletions, added))
        if place is None or key not in self.lists:
            made = self.list_of(repo=repo, overrides_list=overrides_list, **given)
            if place is None:
                return made
            self.lists[key] = made
        return replace(self.lists[key], config_overrides=chosen.config_overrides)

    def config(self, defaults: Sequence[ResultDefault], repo: IConfigRepository, own: Any) -> DictConfig:
        place = sources(repo)
        key = repr((place, [vars(one) for one in defaults]))
        if place is None:
            return self.config_of(own, defaults, repo)
        if key not in self.configs:
            self.configs[key] = self.config_of(own, defaults, repo)
        config = copy.deepcopy(self.configs[key])
        OmegaConf.clear_cache(config)  # which is the kept one's: `now` would be when that was first read
        return config


class Specs:
    """The specs of architectures, by what is in their files, and their lines: 8 % of tests of merges."""

    def __init__(self) -> None:
        self.read, self.lines_of = spec._read_spec, spec._lines
        self.specs: dict[tuple[Path, bytes], Any] = {}
        self.lines: dict[int, tuple[Line, ...] | None] = {}  # by the id of a spec that is kept

    def spec(self, path: Path) -> Any:
        key = (path, path.read_bytes())
        if key not in self.specs:
            self.specs[key] = self.read(path)
            self.lines[id(self.specs[key])] = None
        return self.specs[key]

    def lines_in(self, own: Any, prefixes: tuple[Mapping[str, str], ...] = ()) -> Iterable[Line]:
        if prefixes or id(own) not in self.lines:
            return self.lines_of(own, prefixes)
        kept = self.lines[id(own)] = self.lines[id(own)] or tuple(self.lines_of(own))
        return kept


@pytest.fixture(scope="session", autouse=True)
def spared_work() -> Iterator[Composed]:
    from transformers.configuration_utils import PreTrainedConfig

    composed, specs = Composed(), Specs()

    def config(own: ConfigLoaderImpl, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
        return composed.config(defaults, repo, own)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, "create_defaults_list", composed.defaults)
        patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", config)
        patch.setattr(spec, "_read_spec", specs.spec)
        patch.setattr(spec, "_lines", specs.lines_in)
        patch.setattr(PreTrainedConfig, "__repr__", object.__repr__)
        yield composed

"""The configuration, read once: what Hydra composed becomes one frozen `Run`, checked and typed.

The only place where a config is seen, with the Hydra hooks beside it (`job`, `multirun`, `messages`). Opens
no file of a model.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from inspect import signature
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from adamms.app.config.build import (
    MISSING,
    Missing,
    build,
    checked_arguments,
    found_by_name,
    prepared,
    split,
    validated,
)
from adamms.app.config.evaluators import read_evaluate, replays_logs
from adamms.app.config.grid import candidate_of, candidates_of, space_of
from adamms.app.config.job import check_experiment, this_job
from adamms.app.config.merge_settings import MergeSettings, read_merge
from adamms.app.config.overrides import (
    IGNORED_WITH_LOGS,
    NAME_DATA,
    NO_CONTROL,
    data_is_named,
    overlooked,
    values_of,
    with_demo_settings,
)
from adamms.app.config.sections import ModeKeys, ModelKeys, Node, PlanKeys, Root, SearchKeys, SourceKeys
from adamms.app.recipes.recipe_file import RecipeFile, with_recipe
from adamms.data.example import DataSource
from adamms.engines.base import EngineSettings
from adamms.engines.logs.replay import Replay
from adamms.errors import AdammsError
from adamms.evaluate.foreign.tool import Tool
from adamms.evaluate.logged import LoggedScores
from adamms.evaluate.scorers import Scorer
from adamms.mapping.mapper import Mapper
from adamms.merge.candidate import Candidate
from adamms.merge.shares import donor_shares
from adamms.report.trackers.tracker import Job, Tracker
from adamms.search.strategy import Strategy


@dataclass(frozen=True)
class Source:
    """Where one model is, and how it is read: its full key, e.g. "model.donors.a", and the values there."""

    where: str
    keys: SourceKeys

    @property
    def path(self) -> str:
        if self.keys.path is None:
            raise AdammsError(
                f"{self.where}.path has no value; give a folder or a hub id: {self.where}.path=..."
            )
        return self.keys.path


@dataclass(frozen=True)
class Sources:
    """The models of a run, not yet opened.

    Args:
        target, donors, ancestor: where they are.
        prepare: makes them where they are not there yet.
    """

    target: Source
    donors: Mapping[str, Source]
    ancestor: Source | None = None
    prepare: Callable[[], object] | None = None

    @property
    def only_the_ancestor(self) -> bool:
        """Whether there is no other donor than the ancestor."""
        known = None if self.ancestor is None else self.ancestor.keys
        return all(donor.keys == known for donor in self.donors.values())


@dataclass(frozen=True)
class Run:
    """Everything that was configured, checked and typed. Nobody behind the door sees a config.

    Of `python run.py merge=ties merge.density=0.2`:

        run.mode          # 'search'
        run.merge.method  # Ties(density=0.2, scaling=2.0, scope='model', ...)
        run.grid          # (Candidate(0.0), Candidate(0.1), ..., Candidate(1.0))
        run.engine        # Transformers(batch_size=100, max_new_tokens=4, ...)

    Args:
        mode: its name.
        start: the mode itself, but for the run and the console.
        models, mapper, merge: what is merged, how tensors correspond, how they are merged.
        verify: whether every merged tensor is compared before anything is merged.
        strict: whether infinite and NaN values in what is merged are an error.
        force: whether models are merged that seem to have nothing in common.
        grid: the candidates of a search, or those that mode=explore shows beside each other; empty in other
            modes, and where logs are the grid.
        candidate: the one that mode=respond answers at.
        strategy, samples, seed: how the search chooses, and among how many examples per task.
        engine: what generates answers.
        data: the questions and, where there are, their labels.
        scorer: None where no labels are looked at.
        score_donors, score_control: what is scored beside the candidates.
        tools: evaluation tools that are asked for.
        logged: how logs are scored, None where they are not.
        tracker: who is told of the run.
        output, cache, store: folders; store None keeps no answers.
        model_folder: the model that mode=evaluate evaluates, or mode=extract compares with the target.
        max_shard_gb: largest weight file, in GB.
        verbose: whether libraries may say all that they have to say.
        job: what was typed, and the multirun that the run is part of.
        notes: what was typed and may have another effect than was meant, in a line each.
        config: all values, resolved, as plain data.
        recipe: the file that says what is merged and how, if there is one.
    """

    mode: str
    start: Callable[..., Any]
    models: Sources
    mapper: Mapper
    merge: MergeSettings
    verify: bool
    strict: bool
    force: bool
    grid: tuple[Candidate, ...]
    candidate: Candidate | None
    strategy: Strategy
    samples: int | None
    seed: int
    engine: EngineSettings | Replay
    data: DataSource
    scorer: Scorer | None
    score_donors: bool
    score_control: bool
    tools: tuple[Tool, ...]
    logged: LoggedScores | None
    tracker: Tracker
    output: Path
    cache: Path
    store: Path | None
    model_folder: str | None
    max_shard_gb: float
    verbose: bool
    job: Job
    notes: tuple[str, ...]
    config: Mapping[str, Any]
    recipe: RecipeFile

    @cached_property
    def config_text(self) -> str:
        """`config` as YAML."""
        return yaml.safe_dump(dict(self.config), sort_keys=False, allow_unicode=True)


def read(config: DictConfig) -> Run:
    """Look at every key and value of the composed configuration, and build what it describes.

    Raises:
        AdammsError: a key that nothing reads (with the nearest), one that is missing, a value of another type
            or out of range, a class that does not exist, or settings that exclude each other.
    """
    check_experiment()
    job, values = this_job(), values_of(config)
    values, recipe = with_recipe(values, job, values["mode"])
    root = _read_root(config, values)
    mode, mode_keys = split(ModeKeys, root.mode, "mode")
    models = _read_models(root.model)
    merge = read_merge(root.merge)
    donor_shares(merge.alpha, list(models.donors), merge.weights)
    plan = validated(PlanKeys, root.plan, "plan")
    search, strategy = split(SearchKeys, root.search, "search")
    evaluate, tools = read_evaluate(root.evaluate)
    replays = replays_logs(root.engine, mode)
    searches = mode.name == "search" and not replays
    along = searches or mode.name == "explore"
    grid = _read_grid(search, root.merge, merge, list(models.donors)) if along else ()
    searched = searches and all(candidate.alpha is not None for candidate in grid)
    ignores = [*mode.ignores, *(IGNORED_WITH_LOGS if replays else ()), *(["merge.alpha"] if searched else [])]
    control = evaluate.control and not models.only_the_ancestor
    values["mode"] = {"name": mode.name, "run": mode.run, **mode_keys}
    notes = (*overlooked(job, mode.name, ignores, values), *with_demo_settings(job, root.engine))
    return Run(
        mode=mode.name,
        start=_read_mode(mode.run, mode_keys),
        models=models,
        mapper=build(root.mapper, "mapper", kind=Mapper),
        merge=merge,
        verify=plan.verify,
        strict=plan.strict,
        force=plan.force,
        grid=grid,
        candidate=None if root.candidate is None else candidate_of(root.candidate, root.merge),
        strategy=_read_strategy(search, strategy, root.merge, len(models.donors), searches),
        samples=search.samples,
        seed=search.seed,
        engine=build(root.engine, "engine", kind=Replay if replays else EngineSettings),
        data=_read_data(root.data, models.prepare is not None or data_is_named(job)),
        scorer=build(evaluate.scorer, "evaluate.scorer", kind=Scorer),
        score_donors=evaluate.donors,
        score_control=control,
        tools=tools,
        logged=build(evaluate.logged, "evaluate.logged", kind=LoggedScores),
        tracker=build(root.track, "track", kind=Tracker),
        output=root.output,
        cache=root.cache,
        store=root.store,
        model_folder=root.model_folder,
        max_shard_gb=root.max_shard_gb,
        verbose=root.verbose,
        job=job,
        notes=(*notes, *recipe.notes, *([NO_CONTROL] if control != evaluate.control else [])),
        config=values,
        recipe=recipe,
    )


def _read_root(config: DictConfig, values: Node) -> Root:
    """The keys of all groups, without those of one's own that others refer to as ${key}."""
    text = json.dumps(OmegaConf.to_container(config, resolve=False), default=str, ensure_ascii=False)
    own = set(re.findall(r"\$\{(\w+)[.\[}]", text)) - set(Root.model_fields)
    return validated(Root, {key: value for key, value in values.items() if key not in own}, "")


def _read_data(node: Node, named: bool) -> DataSource:
    """What gives the examples; where no data is named, what says so when they are asked for."""
    return build(node, "data", kind=DataSource) if named else Missing("data", NAME_DATA)


def _read_grid(
    keys: SearchKeys, node: Node, merge: MergeSettings, donors: list[str]
) -> tuple[Candidate, ...]:
    """The candidates of a search, each of which can be merged."""
    grid = tuple(candidates_of(keys.grid, node))
    for candidate in grid:
        settings = merge.at(candidate)
        donor_shares(settings.alpha, donors, settings.weights)
    return grid


def _read_models(node: Node) -> Sources:
    keys = validated(ModelKeys, node, "model")
    if not keys.donors:
        raise AdammsError("model.donors is empty; name a donor: +model.donors.NAME.path=FOLDER")
    target = _read_source(keys.target, "model.target")
    donors = {name: _read_source(donor, f"model.donors.{name}") for name, donor in keys.donors.items()}
    ancestor = _read_source(keys.ancestor or {}, "model.ancestor")
    prepare = None if keys.prepare is None else prepared(keys.prepare, "model.prepare")
    return Sources(target, donors, None if ancestor.keys.path is None else ancestor, prepare)


def _read_source(node: Any, where: str) -> Source:
    if not isinstance(node, dict):
        raise AdammsError(f"{where} is {node!r}; expected its keys, as {where}.path={node}")
    given = {key: value for key, value in node.items() if value != MISSING}
    return Source(where, validated(SourceKeys, given, where))


def _read_mode(name: str, own: Node) -> Callable[..., Any]:
    """The mode's function with what its YAML gives it, which it takes by keyword."""
    function = found_by_name(name, "mode.run")
    missing = [key for key, value in own.items() if value == MISSING]
    given = {key: value for key, value in own.items() if value != MISSING}
    absent = ("run", "console", *missing)
    arguments = checked_arguments(function, given, "mode", besides=ModeKeys.model_fields, absent=absent)
    return Missing(f"mode.{missing[0]}") if missing else partial(function, **arguments)


def _read_strategy(keys: SearchKeys, own: Node, merge: Node, donors: int, searches: bool) -> Strategy:
    takes = signature(found_by_name(own.get("_target_"), "search")).parameters
    if keys.space is not None and "space" not in takes:
        raise AdammsError(
            "search.space goes with search=coefficients; this search varies what search.grid names"
        )
    if "space" in takes:
        known = searches or keys.space is not None
        own = own | {"space": space_of(keys.space, merge, donors) if known else {}}
    if "seed" in takes:
        own = own | {"seed": keys.seed}
    strategy: Strategy = build(own, "search", SearchKeys.model_fields, Strategy)
    return strategy

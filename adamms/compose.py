"""From the configuration to typed objects: the last place, with `pipeline`, where a config is seen.

Has the checkpoints opened, makes the plan, and builds the parts that the config groups name.
"""

import shlex
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf

import adamms
from adamms.arguments import check_arguments
from adamms.errors import AdammsError
from adamms.mapping.plan import Plan, Slot
from adamms.mapping.sketch import SketchedModel
from adamms.merge.acting import actionable
from adamms.merge.catalogue import check_ancestor
from adamms.merge.coefficients import donor_shares
from adamms.merge.method import ANCESTOR, TARGET, Method, Statistics, check_donor_names
from adamms.merge.methods.linear import Linear
from adamms.merge.recipe import Recipe
from adamms.merge.rules import Rule, shares_by_slot
from adamms.merge.statistics import Advance
from adamms.opening import Described, check_sizes, describe, format_of, open_source, origins_of
from adamms.track.console import Console

# The ancestor's name where it stands in the donors' place.
CONTROL = "control"


@dataclass(frozen=True)
class Case:
    """The models of a run, how they are mapped and how they will be merged.

    Args:
        target, donors, ancestor: opened checkpoints, as the mapper describes them.
        names: hub ids or folder names for people: "target", each donor's name -> text.
        origins: hub ids or folder names, target first, then donors; of an adapted model two.
        plan: every target tensor's slot.
        control: the plan with the ancestor as the only donor, when evaluate.control asks for it.
        method: the merge method.
        weights: donor name -> its part of the donors' common share; None for equal parts.
        rules: where the donors' share is another one.
        statistics, control_statistics: what the method found out of these models, see `measured`.
    """

    target: Described
    donors: Mapping[str, Described]
    ancestor: Described | None
    names: Mapping[str, str]
    origins: Sequence[str]
    plan: Plan
    control: Plan | None
    method: Method
    weights: Mapping[str, float] | None = None
    rules: tuple[Rule, ...] = ()
    statistics: Statistics | None = None
    control_statistics: Statistics | None = None

    def recipe(self, alpha: float | Mapping[str, float]) -> Recipe:
        """The merged model at alpha, the donors' share together, or each donor's by name."""
        shares = donor_shares(alpha, list(self.donors), self.weights)
        total = sum(shares.values())
        parts = {name: share / total for name, share in shares.items()} if total else None
        return Recipe(
            self.target.checkpoint,
            {name: donor.checkpoint for name, donor in self.donors.items()},
            self.plan,
            self.method,
            shares,
            self.ancestor.checkpoint if self.ancestor is not None else None,
            shares_by_slot(
                *(self.rules, self.plan.slots, shares),
                parts or donor_shares(1.0, list(self.donors), self.weights),
            ),
            self.statistics,
        )

    @property
    def bytes_to_measure(self) -> int:
        """What `measured` goes through, of the target's bytes; 0 if the method asks for nothing."""
        survey = self.method.survey()
        if survey is None or survey.scope != "model":
            return 0
        plans = [self.plan] if self.control is None else [self.plan, self.control]
        return survey.passes * sum(slot.nbytes for plan in plans for slot in plan.slots if slot.merged)

    def measured(self, advance: Advance) -> "Case":
        """The same with what the method must know of the whole models: recipes at every alpha share it."""
        found = self.recipe(0.0).measured(advance=advance)
        control = None if self.control is None else self.control_recipe(0.0).measured(advance=advance)
        return replace(
            self,
            statistics=found.statistics,
            control_statistics=None if control is None else control.statistics,
        )

    @property
    def arithmetic(self) -> str:
        """The method's name and formula, and how several donors share alpha, for people."""
        text = f"{self.method.name}: {self.method.formula}"
        if len(self.donors) < 2:
            return text
        shares = donor_shares(1.0, list(self.donors), self.weights)
        return f"{text}; of alpha " + ", ".join(f"{share:.0%} is {name}'s" for name, share in shares.items())

    def control_recipe(self, alpha: float) -> Recipe:
        """The target merged with the ancestor in the donors' place."""
        if self.ancestor is None or self.control is None:
            raise AdammsError("there is no control plan: evaluate.control is false")
        ancestor = self.ancestor.checkpoint
        return Recipe(
            self.target.checkpoint,
            {CONTROL: ancestor},
            self.control,
            self.method,
            {CONTROL: float(alpha)},
            ancestor,
            shares_by_slot(self.rules, self.control.slots, {CONTROL: float(alpha)}, {CONTROL: 1.0}),
            self.control_statistics,
        )

    def unmerged(self) -> Recipe:
        """The target as it is, as a recipe of the same tensors: a live model gets all of them back."""
        return replace(self.recipe(0.0), method=Linear(), exceptions={}, statistics=None)

    def alone(self, model: Described) -> Recipe:
        """One of the models as it is: nothing is merged, but an adapter of its own counts."""
        entries = model.checkpoint.tensors.values()
        slots = tuple(Slot(e.name, e.shape, e.dtype, "", reason="nothing is merged") for e in entries)
        ancestor = self.ancestor.checkpoint if self.ancestor is not None else None
        return Recipe(model.checkpoint, {}, Plan(str(model), {}, slots), self.method, {}, ancestor)

    def record(self, recipe: Recipe) -> dict[str, Any]:
        """What adamms_recipe.json says of a merged model: plain data, no dates, no machine's paths."""
        return {
            "adamms": adamms.__version__,
            "fingerprint": recipe.fingerprint,
            "target": self.names[TARGET],
            "donors": {name: self.names[name] for name in self.donors},
            "architectures": {TARGET: format_of(self.target)}
            | {name: format_of(donor) for name, donor in self.donors.items()},
            "checkpoints": {TARGET: self.target.checkpoint.fingerprint}
            | {name: donor.checkpoint.fingerprint for name, donor in self.donors.items()},
            "method": {"name": self.method.name, "parameters": dict(vars(self.method))},
            "coefficients": dict(recipe.coefficients),
            **({"exceptions": recipe.exceptions} if recipe.exceptions else {}),
            "coverage": [vars(row) for row in self.plan.coverage()],
        }


def compose_case(config: DictConfig, console: Console) -> Case:
    """Open what `config.model` names and map it with `config.mapper`, which decides what has to be read."""
    models = config.model
    check_donor_names(models.donors)
    weights, rules = weights_of(config), rules_of(config)
    donor_shares(0.0, [str(name) for name in models.donors], weights)
    if not isinstance(config.plan.verify, bool):
        raise AdammsError(f"plan.verify is {config.plan.verify!r}; expected true or false")
    mapper, method = build(config.mapper), build(config.merge.method)
    build(models.get("prepare"))
    sources = {TARGET: (models.target, "model.target")}
    sources |= {str(name): (donor, f"model.donors.{name}") for name, donor in models.donors.items()}
    if models.get("ancestor") is not None and models.ancestor.get("path") is not None:
        sources[ANCESTOR] = (models.ancestor, "model.ancestor")
    if config.evaluate.control and ANCESTOR not in sources:
        raise AdammsError("evaluate.control=true needs an ancestor: model.ancestor.path=FOLDER")
    opened = {name: open_source(source, where) for name, (source, where) in sources.items()}
    check_sizes(opened[TARGET])
    described = {
        name: describe(mapper, opened[name], source.get("architecture"), where, console, name)
        for name, (source, where) in sources.items()
    }
    target, ancestor = described.pop(TARGET), described.pop(ANCESTOR, None)
    wanted = ancestor is not None and config.evaluate.control
    check_ancestor(method, ancestor is not None)
    base = ancestor if method.needs_ancestor else None
    origins = {TARGET: origins_of(models.target)} | {str(n): origins_of(d) for n, d in models.donors.items()}
    with _progress(target, console):
        plan = actionable(mapper.plan(target, described, ancestor), method)
        control = actionable(mapper.plan(target, {CONTROL: ancestor}, base), method) if wanted else None
    return Case(
        target=target,
        donors=described,
        ancestor=ancestor,
        names={name: " + ".join(parts) for name, parts in origins.items()},
        origins=list(dict.fromkeys(part for parts in origins.values() for part in parts)),
        plan=plan,
        control=control,
        method=method,
        weights=weights,
        rules=rules,
    )


def build(node: DictConfig | None) -> Any:
    """The object that a node with `_target_` describes, its values checked first; None for null."""
    if node is None:
        return None
    where = str(node._get_full_key(None))
    values = {key: value for key, value in node.items() if not str(key).startswith("_")}
    plain = {
        str(key): OmegaConf.to_container(value) if isinstance(value, ListConfig) else value
        for key, value in values.items()
        if not isinstance(value, DictConfig)
    }
    checked = check_arguments(hydra.utils.get_object(node._target_), plain, where)
    paths = {key: value for key, value in checked.items() if isinstance(value, Path)}
    return hydra.utils.instantiate(node, _convert_="all", **paths)


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
    """merge.rules: where the donors' share is another one, in order."""
    given = config.merge.get("rules")
    if given is None:
        return ()
    if not isinstance(given, ListConfig) or not all(isinstance(rule, DictConfig) for rule in given):
        raise AdammsError(
            "merge.rules is not a list of rules; expected [{roles: [attn], factor: [0.5, 1]}, ...]"
        )
    return tuple(_rule(OmegaConf.to_container(rule), number) for number, rule in enumerate(given))


def _rule(given: Any, number: int) -> Rule:
    values = check_arguments(
        Rule, {str(key): value for key, value in given.items()}, f"merge.rules[{number}]"
    )
    settings: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }
    return Rule(**settings)


def check_walks(config: DictConfig) -> None:
    """Raise AdammsError if merge.alpha is fixed for every donor where a search is to walk along it."""
    if isinstance(config.merge.alpha, DictConfig):
        raise AdammsError(
            "merge.alpha gives every donor its share, but a search walks along their share together; "
            "merge.weights={donor name: number} says how it is divided"
        )


def settings_in_words(node: DictConfig, without: Sequence[str] = ()) -> str:
    """The plain settings of a config group but those `without`, for people: 'rule=sum, seed=0'."""
    plain = {
        str(key): value
        for key, value in node.items()
        if not isinstance(value, DictConfig) and key not in without
    }
    return ", ".join(f"{key}={'null' if value is None else value}" for key, value in plain.items())


def merge_command() -> str:
    """The command line that merges as this run does, to which `merge.alpha=` is to be appended."""
    overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    own = ("mode=", "output=", "merge.alpha=", "candidate=", "store=", "search", "data", "engine", "evaluate")
    kept = [shlex.quote(item) for item in overrides if not item.startswith(own)]
    return " ".join(["python run.py mode=merge", *kept])


def _progress(target: Described, console: Console) -> AbstractContextManager[object]:
    """A stage where mapping takes time, as it does by content."""
    return console.stage("match") if isinstance(target, SketchedModel) else nullcontext()

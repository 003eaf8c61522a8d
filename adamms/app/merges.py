"""From the configuration to typed objects: the last place, with `pipeline`, where a config is seen.

Has the checkpoints opened, makes the plan, and builds the parts that the config groups name.
A little over 300 lines: `Case` is what all of it comes to.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig

import adamms
from adamms.app.arguments import check_arguments
from adamms.app.grid import configured
from adamms.app.merging import Merging, alpha_of, rules_of, weights_of
from adamms.app.models import Described, check_sizes, describe, format_of, open_source, origins_of
from adamms.app.settings import keys_of, plain_values
from adamms.checkpoint.reader import Checkpoint
from adamms.errors import AdammsError
from adamms.mapping.content.sketch import SketchedModel
from adamms.mapping.plan import Plan, Slot
from adamms.merge.candidate import Candidate
from adamms.merge.catalogue import check_ancestor
from adamms.merge.device import Computed, check_device
from adamms.merge.method import ANCESTOR, TARGET, Method, Statistics, check_donor_names
from adamms.merge.methods.linear import Linear
from adamms.merge.recipe import Recipe
from adamms.merge.rows_to_merge import actionable
from adamms.merge.rules import Rule, shares_by_slot
from adamms.merge.shares import donor_shares
from adamms.merge.sources import Sources
from adamms.merge.surveys.survey import Advance
from adamms.report.card import Origin
from adamms.report.console import Console

# The ancestor's name where it stands in the donors' place.
CONTROL = "control"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """The models of a run, how they are mapped and how they will be merged.

    Args:
        target, donors, ancestor: opened checkpoints, as the mapper describes them.
        names: hub ids or folder names for people: "target", each donor's name -> text.
        cards: where the models come from, for the model card: target first, then donors, then an ancestor
            that the method needs; of an adapted model two.
        plan: every target tensor's slot.
        control: the plan with the ancestor as the only donor, when evaluate.control asks for it.
        method: the merge method.
        weights: donor name -> its part of the donors' common share; None for equal parts.
        rules: where the donors' share is another one.
        alpha: the donors' share together, or each donor's by name.
        variants: how candidates that set more than alpha are merged.
        device: where the arithmetic of what is written and surveyed takes place.
        statistics, control_statistics: method's repr -> what it found out of these models, see `measured`.
    """

    target: Described
    donors: Mapping[str, Described]
    ancestor: Described | None
    names: Mapping[str, str]
    cards: Sequence[Origin]
    plan: Plan
    control: Plan | None
    method: Method
    weights: Mapping[str, float] | None = None
    rules: tuple[Rule, ...] = ()
    alpha: float | Mapping[str, float] = 0.0
    variants: Mapping[Candidate, Merging] = field(default_factory=dict)
    device: torch.device = CPU
    statistics: Mapping[str, Statistics | None] = field(default_factory=dict)
    control_statistics: Mapping[str, Statistics | None] = field(default_factory=dict)

    def at(self, candidate: Candidate) -> "Case":
        """The same models, merged as the candidate says."""
        found = self.variants.get(candidate)
        if found is None:
            assert candidate.alpha is not None, candidate
            return replace(self, alpha=candidate.alpha)
        return replace(self, method=found.method, alpha=found.alpha, weights=found.weights, rules=found.rules)

    def recipe(self) -> Recipe:
        """The merged model."""
        shares = donor_shares(self.alpha, list(self.donors), self.weights)
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
            self.statistics.get(repr(self.method)),
        )

    @property
    def _methods(self) -> dict[str, Method]:
        """Those that the candidates are merged by, each once: repr -> method."""
        methods = [merging.method for merging in self.variants.values()] or [self.method]
        return {repr(method): method for method in methods}

    @property
    def bytes_to_measure(self) -> int:
        """What `measured` goes through, of the target's bytes; 0 if no method asks for anything."""
        surveys = [method.survey() for method in self._methods.values()]
        passes = sum(survey.passes for survey in surveys if survey is not None and survey.scope == "model")
        plans = [self.plan] if self.control is None else [self.plan, self.control]
        return passes * sum(slot.nbytes for plan in plans for slot in plan.slots if slot.merged)

    def measured(self, advance: Advance) -> "Case":
        """The same with what the methods must know of the whole models: recipes at every alpha share it."""
        found, control = {}, {}
        for name, method in self._methods.items():
            case = replace(self, method=method, alpha=0.0)
            found[name] = self.computed(case.recipe()).measured(advance).statistics
            if self.control is not None:
                control[name] = self.computed(case.control_recipe()).measured(advance).statistics
        return replace(self, statistics=found, control_statistics=control)

    @property
    def arithmetic(self) -> str:
        """The method's name and formula, and how several donors share alpha, for people."""
        text = f"{self.method.name}: {self.method.formula}"
        if len(self.donors) < 2:
            return text
        shares = donor_shares(1.0, list(self.donors), self.weights)
        return f"{text}; of alpha " + ", ".join(f"{share:.0%} is {name}'s" for name, share in shares.items())

    def control_recipe(self) -> Recipe:
        """The target merged with the ancestor in the donors' place."""
        if self.ancestor is None or self.control is None:
            raise AdammsError("there is no control plan: evaluate.control is false")
        ancestor = self.ancestor.checkpoint
        alpha = sum(self.alpha.values()) if isinstance(self.alpha, Mapping) else float(self.alpha)
        return Recipe(
            self.target.checkpoint,
            {CONTROL: ancestor},
            self.control,
            self.method,
            {CONTROL: alpha},
            ancestor,
            shares_by_slot(self.rules, self.control.slots, {CONTROL: alpha}, {CONTROL: 1.0}),
            self.control_statistics.get(repr(self.method)),
        )

    def unmerged(self) -> Recipe:
        """The target as it is, as a recipe of the same tensors: a live model gets all of them back."""
        return replace(self, method=Linear(), alpha=0.0, rules=()).recipe()

    def alone(self, model: Described) -> Recipe:
        """One of the models as it is: nothing is merged, but an adapter of its own counts."""
        entries = model.checkpoint.tensors.values()
        slots = tuple(Slot(e.name, e.shape, e.dtype, "", reason="nothing is merged") for e in entries)
        ancestor = self.ancestor.checkpoint if self.ancestor is not None else None
        return Recipe(model.checkpoint, {}, Plan(str(model), {}, slots), self.method, {}, ancestor)

    def computed(self, recipe: Recipe) -> Computed:
        """What the writer takes the merged tensors from: the recipe, on the case's device."""
        return Computed(recipe, Sources(self.device))

    def record(self, recipe: Recipe) -> dict[str, Any]:
        """What adamms_recipe.json says of a merged model: plain data, no dates, no machine's paths."""
        return {
            "adamms": adamms.__version__,
            "fingerprint": self.computed(recipe).fingerprint,
            "target": self.names[TARGET],
            "donors": {name: self.names[name] for name in self.donors},
            "architectures": {TARGET: format_of(self.target)}
            | {name: format_of(donor) for name, donor in self.donors.items()},
            "checkpoints": {TARGET: self.target.checkpoint.fingerprint}
            | {name: donor.checkpoint.fingerprint for name, donor in self.donors.items()},
            "method": {"name": recipe.method.name, "parameters": dict(vars(recipe.method))},
            "coefficients": dict(recipe.coefficients),
            **({"exceptions": recipe.exceptions} if recipe.exceptions else {}),
            "coverage": [vars(row) for row in self.plan.coverage()],
        }


def compose_case(
    config: DictConfig, console: Console, variants: Mapping[Candidate, Merging] | None = None
) -> Case:
    """Open what `config.model` names and map it with `config.mapper`, which decides what has to be read.

    Args:
        variants: how candidates that set more than alpha are merged, see `variants_of`.
    """
    models = config.model
    check_donor_names(models.donors)
    device = check_device(config.merge.device)
    weights, rules = weights_of(config), rules_of(config)
    shares = donor_shares(alpha_of(config), [str(name) for name in models.donors], weights)
    mapper, method = build(config.mapper), build(config.merge.method)
    method.keeps_target(shares)  # raises if there are more donors than it can merge
    build(models.get("prepare"))
    sources = {TARGET: (models.target, "model.target")}
    sources |= {str(name): (donor, f"model.donors.{name}") for name, donor in models.donors.items()}
    if models.get("ancestor") is not None and models.ancestor.get("path") is not None:
        sources[ANCESTOR] = (models.ancestor, "model.ancestor")
    if config.evaluate.control and ANCESTOR not in sources:
        raise AdammsError("evaluate.control=true needs an ancestor: model.ancestor.path=FOLDER")
    check_ancestor(method, ANCESTOR in sources)
    opened = {name: open_source(source, where) for name, (source, where) in sources.items()}
    check_sizes(opened[TARGET])
    described = {
        name: describe(mapper, opened[name], source.get("architecture"), where, console, name)
        for name, (source, where) in sources.items()
    }
    target, ancestor = described.pop(TARGET), described.pop(ANCESTOR, None)
    wanted = ancestor is not None and config.evaluate.control
    base = ancestor if method.needs_ancestor else None
    origins = {TARGET: origins_of(models.target)} | {str(n): origins_of(d) for n, d in models.donors.items()}
    known = origins | ({ANCESTOR: origins_of(models.ancestor)} if method.needs_ancestor else {})
    with _progress(target, console):
        plan = actionable(mapper.plan(target, described, ancestor), method)
        control = actionable(mapper.plan(target, {CONTROL: ancestor}, base), method) if wanted else None
    return Case(
        target=target,
        donors=described,
        ancestor=ancestor,
        names={name: " + ".join(parts) for name, parts in origins.items()},
        cards=_cards(known, opened),
        plan=plan,
        control=control,
        method=method,
        weights=weights,
        rules=rules,
        alpha=alpha_of(config),
        variants=variants or {},
        device=device,
    )


def _cards(origins: Mapping[str, Sequence[str]], opened: Mapping[str, Checkpoint]) -> list[Origin]:
    """Each model once: an adapter, which comes after its base, without the base's licence."""
    found: dict[str, Origin] = {}
    for name, parts in origins.items():
        for number, part in enumerate(parts):
            found.setdefault(part, Origin.of(part, opened[name].folder) if number == 0 else Origin(part))
    return list(found.values())


def variants_of(config: DictConfig, candidates: Sequence[Candidate]) -> dict[Candidate, Merging]:
    """How those candidates are merged that set more than alpha, built and checked.

    Raises:
        AdammsError: a value that the method, or what the donors share alpha by, refuses; or two candidates
            that are the same merge.
    """
    found: dict[Candidate, Merging] = {}
    for candidate in candidates:
        if candidate.parameters:
            merging = _variant(config, candidate)
            same = next((other for other in found if found[other] == merging), None)
            if same is not None:
                raise AdammsError(
                    f"search.grid: {same} and {candidate} are the same merge: merge.method reads nothing "
                    f"that they differ in"
                )
            found[candidate] = merging
    return found


def _variant(config: DictConfig, candidate: Candidate) -> Merging:
    own = configured(config, candidate)
    try:
        merging = Merging(build(own.merge.method), alpha_of(own), weights_of(own), rules_of(own))
        donor_shares(merging.alpha, [str(name) for name in config.model.donors], merging.weights)
    except (AdammsError, InstantiationException) as error:
        reason = error if isinstance(error, AdammsError) else error.__cause__ or error
        keys = ", ".join(f"{key}={value!r}" for key, value in candidate.settings.items())
        raise AdammsError(f"the candidate {keys}: {reason}") from error
    return merging


def build(node: DictConfig | None) -> Any:
    """The object that a node with `_target_` describes, its values checked first; None for null."""
    if node is None:
        return None
    where = str(node._get_full_key(None))
    for key in node:
        node[key]  # raises if it has no value
    checked = check_arguments(hydra.utils.get_object(node._target_), plain_values(node), where, keys_of(node))
    paths = {key: value for key, value in checked.items() if isinstance(value, Path)}
    return hydra.utils.instantiate(node, _convert_="all", **paths)


def _progress(target: Described, console: Console) -> AbstractContextManager[object]:
    """A stage where mapping takes time, as it does by content."""
    return console.stage("match") if isinstance(target, SketchedModel) else nullcontext()

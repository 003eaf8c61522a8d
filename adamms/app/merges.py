"""What candidates come to: recipes of merged models, from a plan, a method and a setting of its numbers.

Knows no engine and no search.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import adamms
from adamms.app.config.merge_settings import MergeSettings
from adamms.app.models import Models, OpenModel, Stage
from adamms.app.settings import Run
from adamms.checkpoint.reader import Checkpoint
from adamms.errors import AdammsError, nearest
from adamms.mapping.plan import Plan, Slot
from adamms.merge.candidate import Candidate
from adamms.merge.catalogue import check_ancestor
from adamms.merge.device import Computed, check_device
from adamms.merge.method import TARGET, Method, Statistics, Survey
from adamms.merge.methods.linear import Linear
from adamms.merge.recipe import Recipe
from adamms.merge.rows_to_merge import actionable
from adamms.merge.rules import Shares, shares_by_slot
from adamms.merge.schedule import BySlot, Schedule, methods_by_slot, scheduled
from adamms.merge.shares import donor_shares
from adamms.merge.sources import Sources

# The ancestor's name where it takes the donors' place.
CONTROL = "control"


@dataclass(frozen=True)
class Merges:
    """Recipes of one set of models.

        merges = plan_merges(run, models).measured(run.grid, console.stage)
        merges.at(Candidate(0.3)).coefficients  # {'onevision': 0.3}
        merges.target().changes                 # False: the target's bytes

    Args:
        models: opened.
        plan: every target tensor's slot.
        settings: how the models are merged where a candidate says nothing else.
        control_plan: the plan with the ancestor as the only donor; None where nobody asks for a control.
        statistics: repr of a method or schedule -> what its survey of the models found, see `measured`.
        control_statistics: the same for the control's plan.
    """

    models: Models
    plan: Plan
    settings: MergeSettings
    control_plan: Plan | None = None
    statistics: Mapping[str, Statistics | None] = field(default_factory=dict)
    control_statistics: Mapping[str, Statistics | None] = field(default_factory=dict)

    def at(self, candidate: Candidate | None = None) -> Recipe:
        """The merged model of a candidate; of None as it is configured.

        Raises:
            AdammsError: values that cannot be merged with.
        """
        return self._recipe(self._settings(candidate))

    def accepts(self, candidate: Candidate) -> bool:
        """Whether the method and the rules take the candidate's values together."""
        try:
            self._shares(self.settings.at(candidate))
        except AdammsError:
            return False
        return True

    def check(self, candidate: Candidate | None = None) -> None:
        """Raise AdammsError for what `at` and `control` would refuse, before anything is measured."""
        settings = self._settings(candidate)
        if settings.schedule is not None and settings.schedule.survey() is not None:
            settings = replace(settings, schedule=None)
        self._recipe(settings)
        if self.control_plan is not None:
            self._control(settings)

    def control(self, candidate: Candidate) -> Recipe:
        """The target merged with the ancestor in the donors' place."""
        return self._control(self.settings.at(candidate))

    def _control(self, settings: MergeSettings) -> Recipe:
        if self.models.ancestor is None or self.control_plan is None:
            raise AdammsError("there is no control plan: evaluate.control is false")
        alpha = settings.alpha
        total = sum(alpha.values()) if isinstance(alpha, Mapping) else float(alpha)
        models = replace(self.models, donors={CONTROL: self.models.ancestor})
        there = replace(self, models=models, plan=self.control_plan, statistics=self.control_statistics)
        return there._recipe(replace(settings, weights=None), {CONTROL: total})

    def target(self) -> Recipe:
        """The target as it is, as a recipe of the same tensors: a live model gets all of them back."""
        return self._recipe(replace(self.settings, alpha=0.0, rules=(), schedule=None)).unmerged()

    @cached_property
    def alpha_0_is_target(self) -> bool:
        """Whether the candidate of alpha 0 has the target's bytes: of some methods it is another model.

        That does not depend on `statistics`.
        """
        return not self.at(Candidate(0.0)).changes

    def alone(self, model: OpenModel) -> Recipe:
        """One of the models as it is: nothing is merged, but an adapter of its own counts."""
        entries = model.checkpoint.tensors.values()
        slots = tuple(Slot(e.name, e.shape, e.dtype, "", reason="nothing is merged") for e in entries)
        plan = Plan(str(model.described), {}, slots)
        return Recipe(model.checkpoint, {}, plan, self.settings.method, {}, self._ancestor)

    def measured(self, candidates: Sequence[Candidate], stage: Stage) -> "Merges":
        """The same with what methods and schedules must know of the whole models, surveyed once for all.

        Args:
            candidates: all that will be merged; none for the configured setting alone.
            stage: shows progress.
        """
        settings = [self.settings.at(candidate) for candidate in candidates] or [self.settings]
        surveyed = _surveyed(settings)
        passes = sum(survey.passes for _, survey in surveyed.values())
        plans = [self.plan] if self.control_plan is None else [self.plan, self.control_plan]
        total = passes * sum(slot.nbytes for plan in plans for slot in plan.slots if slot.merged)
        if not total:
            return self
        found, control = {}, {}
        with stage("measure", total, "bytes") as advance:
            for name, (each, survey) in surveyed.items():
                found[name] = self.computed(self._recipe(each)).surveyed(survey, advance)
                if self.control_plan is not None:
                    control[name] = self.computed(self._control(each)).surveyed(survey, advance)
        return replace(self, statistics=found, control_statistics=control)

    def computed(self, recipe: Recipe) -> Computed:
        """The recipe with the device and dtype that were configured, for the writer and for surveys."""
        recipe = replace(recipe, dtype=self.settings.dtype)
        return Computed(recipe, Sources(check_device(self.settings.device)))

    @property
    def arithmetic(self) -> str:
        """The method's name and formula, and how donors share alpha, for people."""
        method, schedule = self.settings.method, self.settings.schedule
        text = f"{method.name}: {method.formula}{f'; {schedule.formula}' if schedule else ''}"
        if len(self.models.donors) < 2:
            return text
        shares = donor_shares(1.0, list(self.models.donors), self.settings.weights)
        return f"{text}; of alpha " + ", ".join(f"{share:.0%} is {name}'s" for name, share in shares.items())

    def record(self, candidate: Candidate | None = None) -> dict[str, Any]:
        """What adamms_recipe.json says of the merged model that `at` gives: plain data, no dates, no paths.

        "coefficients" are the donors' shares, "exceptions" those of the tensors that a rule has other ones
        for. A "schedule" makes others of both: from "lowest" to "highest" of each donor.
        """
        models, settings, recipe = self.models, self._settings(candidate), self.at(candidate)
        coefficients, exceptions = self._shares(settings)
        opened = {TARGET: models.target, **models.donors}
        return {
            "adamms": adamms.__version__,
            "fingerprint": self.computed(recipe).fingerprint,
            "target": models.target.name,
            "donors": {name: donor.name for name, donor in models.donors.items()},
            "architectures": {name: model.architecture for name, model in opened.items()},
            "checkpoints": models.fingerprints,
            **({"dequantised": said} if (said := models.dequantised()) else {}),
            "method": {"name": recipe.method.name, "parameters": dict(vars(recipe.method))},
            **({} if settings.schedule is None else {"schedule": _scheduled(settings.schedule, recipe)}),
            "coefficients": dict(coefficients),
            **({"exceptions": exceptions} if exceptions else {}),
            "coverage": [vars(row) for row in self.plan.coverage()],
        }

    @property
    def _ancestor(self) -> Checkpoint | None:
        return None if self.models.ancestor is None else self.models.ancestor.checkpoint

    def _settings(self, candidate: Candidate | None) -> MergeSettings:
        return self.settings if candidate is None else self.settings.at(candidate)

    def _shares(self, settings: MergeSettings, shares: Shares | None = None) -> tuple[Shares, BySlot]:
        """The donors' shares, and those of the slots that have others by a rule: before any schedule.

        Args:
            shares: instead of those that the settings say.
        """
        donors = list(self.models.donors)
        shares = shares or donor_shares(settings.alpha, donors, settings.weights)
        total = sum(shares.values())
        parts = {name: share / total for name, share in shares.items()} if total else None
        parts = parts or donor_shares(1.0, donors, settings.weights)
        return shares, shares_by_slot(settings.rules, self.plan.slots, shares, parts)

    def _recipe(self, settings: MergeSettings, shares: Shares | None = None) -> Recipe:
        """The plan merged with these shares of the donors; by default those that the settings say."""
        coefficients, exceptions = self._shares(settings, shares)
        methods: Mapping[str, Method] = {}
        if (schedule := settings.schedule) is not None:
            methods = methods_by_slot(schedule, self.plan.slots, settings.method)
            found = self.statistics.get(repr(schedule))
            coefficients, exceptions = scheduled(schedule, self.plan.slots, coefficients, exceptions, found)
        return Recipe(
            self.models.target.checkpoint,
            {name: donor.checkpoint for name, donor in self.models.donors.items()},
            self.plan,
            settings.method,
            coefficients,
            self._ancestor,
            exceptions,
            self.statistics.get(repr(settings.method)),
            methods,
        )


def _surveyed(settings: Sequence[MergeSettings]) -> dict[str, tuple[MergeSettings, Survey]]:
    """What has to be surveyed once for all candidates: repr -> what to merge there (nothing), the survey."""
    found: dict[str, tuple[MergeSettings, Survey | None]] = {}
    for each in settings:
        bare = replace(each, alpha=0.0, schedule=None)
        found[repr(each.method)] = bare, each.method.survey()
        if each.schedule is not None:
            found[repr(each.schedule)] = replace(bare, method=Linear()), each.schedule.survey()
    return {name: (bare, it) for name, (bare, it) in found.items() if it is not None and it.scope == "model"}


def _scheduled(schedule: Schedule, recipe: Recipe) -> dict[str, Any]:
    """A schedule, and donor name -> its lowest and highest share of a merged tensor by it."""
    shares = [recipe.shares(slot) for slot in recipe.plan.slots if slot.merged]
    given = {name: [own[name] for own in shares if name in own] for name in recipe.donors}
    return {
        "name": schedule.name,
        "parameters": dict(vars(schedule)),
        "lowest": {name: min(values) for name, values in given.items() if values},
        "highest": {name: max(values) for name, values in given.items() if values},
    }


def check_merge(run: Run) -> None:
    """Raise AdammsError for what is wrong with the merge, before a model is opened."""
    settings = run.merge
    check_device(settings.device)
    shares = donor_shares(settings.alpha, list(run.models.donors), settings.weights)
    settings.method.keeps_target(shares)  # raises if there are more donors than it can merge
    if run.score_control and run.models.ancestor is None:
        raise AdammsError("evaluate.control=true needs an ancestor: model.ancestor.path=FOLDER")
    check_ancestor(settings.method, run.models.ancestor is not None)
    names = [TARGET, *run.models.donors]
    for key, given in vars(settings.method).items():
        for name in given if isinstance(given, Mapping) else ():
            if name not in names:
                raise AdammsError(
                    f"merge.{key} names {name!r}; the models are {', '.join(names)}.{nearest(name, names)}"
                )


def plan_merges(run: Run, models: Models) -> Merges:
    """Map the donors onto the target; what the method cannot merge is kept, with the reason."""
    method, ancestor = run.merge.method, models.ancestor
    base = None if ancestor is None else ancestor.described

    def mapped(donors: Mapping[str, Any], ancestor: Any) -> Plan:
        return actionable(run.mapper.plan(models.target.described, donors, ancestor), method)

    plan = mapped({name: donor.described for name, donor in models.donors.items()}, base)
    control = None
    if run.score_control and base is not None:
        control = mapped({CONTROL: base}, base if method.needs_ancestor else None)
    return Merges(models, plan, run.merge, control)

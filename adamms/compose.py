"""From the configuration to typed objects: the last place, with `pipeline`, where a config is seen.

Opens the checkpoints, makes the plan, and builds the parts that the config groups name.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

import adamms
from adamms.architectures.spec import load_architecture, recognise
from adamms.arguments import check_arguments
from adamms.checkpoint.adapted import AdaptedCheckpoint
from adamms.checkpoint.adapter import declared_base, is_adapter, open_adapter
from adamms.checkpoint.hub import locate
from adamms.checkpoint.reader import ADAPTER_CONFIG, Checkpoint, open_checkpoint
from adamms.errors import AdammsError
from adamms.mapping.model import Model, describe
from adamms.mapping.plan import Plan, Slot
from adamms.merge.acting import actionable
from adamms.merge.catalogue import check_ancestor
from adamms.merge.coefficients import donor_shares
from adamms.merge.method import TARGET, Method, Statistics, check_donor_names
from adamms.merge.methods.linear import Linear
from adamms.merge.recipe import Recipe
from adamms.merge.statistics import Advance

# The ancestor's name where it stands in the donors' place.
CONTROL = "control"


@dataclass(frozen=True)
class Case:
    """The models of a run, how they are mapped and how they will be merged.

    Args:
        target, donors, ancestor: opened checkpoints with their architectures.
        names: hub ids or folder names for people: "target", each donor's name -> text.
        origins: hub ids or folder names, target first, then donors; of an adapted model two.
        plan: every target tensor's slot.
        control: the plan with the ancestor as the only donor, when evaluate.control asks for it.
        method: the merge method.
        weights: donor name -> its part of the donors' common share; None for equal parts.
        statistics, control_statistics: what the method found out of these models, see `measured`.
    """

    target: Model
    donors: Mapping[str, Model]
    ancestor: Model | None
    names: Mapping[str, str]
    origins: Sequence[str]
    plan: Plan
    control: Plan | None
    method: Method
    weights: Mapping[str, float] | None = None
    statistics: Statistics | None = None
    control_statistics: Statistics | None = None

    def recipe(self, alpha: float | Mapping[str, float]) -> Recipe:
        """The merged model at alpha, the donors' share together, or each donor's by name."""
        return Recipe(
            self.target.checkpoint,
            {name: donor.checkpoint for name, donor in self.donors.items()},
            self.plan,
            self.method,
            donor_shares(alpha, list(self.donors), self.weights),
            self.ancestor.checkpoint if self.ancestor is not None else None,
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
            self.control_statistics,
        )

    def unmerged(self) -> Recipe:
        """The target as it is, as a recipe of the same tensors: a live model gets all of them back."""
        return replace(self.recipe(0.0), method=Linear(), statistics=None)

    def alone(self, model: Model) -> Recipe:
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
            "architectures": {TARGET: self.target.architecture.name}
            | {name: donor.architecture.name for name, donor in self.donors.items()},
            "checkpoints": {TARGET: self.target.checkpoint.fingerprint}
            | {name: donor.checkpoint.fingerprint for name, donor in self.donors.items()},
            "method": {"name": self.method.name, "parameters": dict(vars(self.method))},
            "coefficients": dict(recipe.coefficients),
            "coverage": [vars(row) for row in self.plan.coverage()],
        }


def compose_case(config: DictConfig) -> Case:
    """Open what `config.model` names and map it with `config.mapper`; reads headers only."""
    models = config.model
    check_donor_names(models.donors)
    weights = weights_of(config)
    donor_shares(0.0, [str(name) for name in models.donors], weights)
    mapper, method = build(config.mapper), build(config.merge.method)
    build(models.get("prepare"))
    target = _open(models.target, "model.target")
    donors = {str(name): _open(donor, f"model.donors.{name}") for name, donor in models.donors.items()}
    given = models.get("ancestor") is not None and models.ancestor.get("path") is not None
    ancestor = _open(models.ancestor, "model.ancestor") if given else None
    if config.evaluate.control and ancestor is None:
        raise AdammsError("evaluate.control=true needs an ancestor: model.ancestor.path=FOLDER")
    wanted = ancestor is not None and config.evaluate.control
    check_ancestor(method, given)
    base = ancestor if method.needs_ancestor else None
    _check_sizes(target)
    origins = {TARGET: _origins(models.target)} | {str(n): _origins(d) for n, d in models.donors.items()}
    return Case(
        target=target,
        donors=donors,
        ancestor=ancestor,
        names={name: " + ".join(parts) for name, parts in origins.items()},
        origins=list(dict.fromkeys(part for parts in origins.values() for part in parts)),
        plan=actionable(mapper.plan(target, donors, ancestor), method),
        control=actionable(mapper.plan(target, {CONTROL: ancestor}, base), method) if wanted else None,
        method=method,
        weights=weights,
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


def _open(source: DictConfig, where: str) -> Model:
    if OmegaConf.is_missing(source, "path") or source.get("path") is None:
        raise AdammsError(f"{where}.path has no value; give a folder or a hub id: {where}.path=...")
    try:
        checkpoint = _open_checkpoint(source)
        name = source.get("architecture")
        architecture = load_architecture(name) if name else recognise(checkpoint.config, checkpoint.folder)
        return describe(checkpoint, architecture)
    except MissingMandatoryValue as error:
        raise AdammsError(f"{where}: {error}") from error
    except AdammsError as error:
        raise AdammsError(f"{where}: {error}") from error


def _open_checkpoint(source: DictConfig) -> Checkpoint:
    """What `path` and `adapter` name: a model, a base with an adapter, or an adapter that names its base."""
    path = locate(str(source.path), source.get("revision"))
    if source.get("adapter") is not None:
        return open_adapter(open_checkpoint(path), locate(str(source.adapter)))
    if not is_adapter(path):
        return open_checkpoint(path)
    name, revision = declared_base(path)
    try:
        base = open_checkpoint(locate(name, revision))
    except AdammsError as error:
        raise AdammsError(
            f"{error} It is the base that {path / ADAPTER_CONFIG} names; if it is elsewhere, give path=BASE "
            f"adapter={path}"
        ) from error
    return open_adapter(base, path)


def _check_sizes(target: Model) -> None:
    """Raise AdammsError if the target's adapter adds or resizes a tensor: the base's config.json is kept."""
    checkpoint = target.checkpoint
    if isinstance(checkpoint, AdaptedCheckpoint):
        for name in checkpoint.changes:
            old, new = checkpoint.base.tensors.get(name), checkpoint.tensors[name]
            if old is None or old.shape != new.shape:
                instead = "where the base has none" if old is None else f"instead of {list(old.shape)}"
                raise AdammsError(
                    f"model.target: the adapter makes {name} {list(new.shape)} {instead}, which does not go "
                    f"with the base's config.json and tokenizer; materialise it first"
                )


def _origins(source: DictConfig) -> list[str]:
    """The base and, if there is one, the adapter, for people."""
    path, adapter = str(source.path), source.get("adapter")
    return [_name(path)] if adapter is None else [_name(path), _name(str(adapter))]


def _name(path: str) -> str:
    """A hub id as it is; of a local folder the last part."""
    return path if not Path(path).expanduser().exists() else Path(path).expanduser().resolve().name

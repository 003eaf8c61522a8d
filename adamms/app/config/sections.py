"""The keys of the configuration that describe no object, as pydantic models. Knows no values.

The keys of an object are the parameters of its constructor.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from adamms.app.config.build import Section

Node = dict[str, Any]


class Root(Section):
    """The top level: the groups, and what belongs to none of them."""

    mode: Node
    model: Node
    mapper: Node
    merge: Node
    data: Node
    engine: Node
    search: Node
    evaluate: Node
    track: Node
    plan: Node
    output: Path
    cache: Path
    store: Path | None
    model_folder: str | None
    max_shard_gb: PositiveFloat
    verbose: bool
    candidate: Any
    recipe: str | None = None


class PlanKeys(Section):
    verify: bool
    strict: bool
    force: bool


class MergeKeys(Section):
    """Beside the method's own hyper-parameters. `donor_shares` checks alpha and weights."""

    alpha: Any
    weights: Any = None
    rules: list[Node] | dict[str, Node] | None = None
    schedule: Node | None = None
    device: str
    dtype: Literal["F32", "F16", "BF16", "F64"] | None = None


class SearchKeys(Section):
    """Beside the strategy's own. `grid` checks the grid and the space."""

    grid: Any
    samples: PositiveInt | None
    seed: NonNegativeInt
    logprobs: NonNegativeInt = 0
    space: Any = None


class EvaluateKeys(Section):
    """Beside the evaluation tools, which are what else has a `_target_`."""

    scorer: Node | None
    donors: bool
    control: bool
    logged: Node | None = None


class SourceKeys(Section):
    """One model: see conf/model/custom.yaml."""

    path: str | None = None
    revision: str | None = None
    adapter: str | None = None
    architecture: str | None = None
    tokenizer: str | None = None
    chat_template: str | None = None


class ModelKeys(Section):
    """The models themselves are read as `SourceKeys`."""

    target: Any
    donors: dict[str, Any]
    ancestor: Any = None
    prepare: Node | None = None


class MergedModels(Section):
    """The models of a recipe; each is read as `SourceKeys` later."""

    target: Node
    donors: dict[str, Node]
    ancestor: Node | None = None


class ReplayKeys(Section):
    """What adamms_recipe.json says so that the same is merged again."""

    model: Node
    mapper: Node
    merge: Node
    plan: Node | None = None


class ModeKeys(Section):
    """Beside what the mode's function takes. Who sets what it `ignores` is told; logs are no model."""

    name: str
    run: str
    ignores: tuple[str, ...] = ()
    needs_models: bool = False
    takes_recipe: bool = False

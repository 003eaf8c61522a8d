"""What mergekit's methods are here: the class, its numbers, and the shares of the models at one tensor.

Weights need not add up to 1 where the target is the ancestor: its task vector is 0, whatever its share.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from adamms.errors import AdammsError
from adamms.merge.mergekit.settings import Reading
from adamms.merge.method import TARGET

Shares = dict[str, float]
# (shares of the models, numbers of the method that are not those of `Meaning.numbers`)
Found = tuple[Shares, dict[str, Any]]
ROOT = "adamms.merge.methods"


@dataclass(frozen=True)
class Meaning:
    """One of mergekit's methods.

    Args:
        target: full name of the class.
        numbers: of its constructor.
        base: what base_model is. `ancestor`: what task vectors are differences from, and the target.
            `target`: one of two models. `model`: one of the models, if it is given. `perhaps`: the ancestor,
            if it is given.
        found: what a reading comes to.
        reads: keys of parameters that mean something.
        models: how many there may be, at least and at most, without the base of task vectors.
    """

    target: str
    numbers: Mapping[str, Any]
    base: Literal["ancestor", "target", "model", "perhaps"]
    found: Callable[[Reading], Found]
    reads: tuple[str, ...] = ()
    models: tuple[int, float] = field(default=(1, math.inf))


def _weights(reading: Reading, normalise: bool) -> Shares:
    weights = reading.numbers("weight")
    total = math.fsum(weights.values()) if normalise else 1.0
    total = 1.0 if abs(total) < 1e-8 else total
    return {name: weight / total for name, weight in weights.items()}


def _equal(reading: Reading) -> Found:
    return dict.fromkeys(reading.models, 1 / len(reading.models)), {}


def _linear(reading: Reading) -> Found:
    shares = _weights(reading, reading.flag("normalize", True))
    return _whole(shares, "linear", "normalize: false"), {}


def _whole(shares: Shares, method: str, because: str) -> Shares:
    """The shares, if they add up to 1."""
    total = math.fsum(shares.values())
    if abs(total - 1) > 1e-6:
        raise AdammsError(
            f"recipe: {method} with {because} has weights that add up to {total:g}, which makes the model "
            f"larger or smaller; expected 1, or leave {because} out"
        )
    return shares


def _slerp(reading: Reading) -> Found:
    (donor,) = (name for name in reading.models if name != TARGET)
    return {donor: reading.share("t")}, {}


def _nuslerp(reading: Reading) -> Found:
    if reading.flag("nuslerp_row_wise", False) and not reading.flag("nuslerp_flatten", True):
        raise AdammsError(
            "recipe: nuslerp_row_wise: true takes the columns of a matrix, which merge=nuslerp does not; "
            "expected nuslerp_flatten: true, or nuslerp_row_wise: false for its rows"
        )
    weights = _weights(reading, normalise=False)
    (one, first), (other, second) = weights.items()
    t = 0.5 if abs(first + second) < 1e-6 else second / (first + second)
    per = "tensor" if reading.flag("nuslerp_flatten", True) else "row"
    return _positive({one: 1 - t, other: t}, "nuslerp"), {"per": per}


def _multislerp(reading: Reading) -> Found:
    normalised = reading.flag("normalize_weights", True)
    shares = _positive(_weights(reading, normalised), "multislerp")
    return (shares if normalised else _whole(shares, "multislerp", "normalize_weights: false")), {}


def _positive(shares: Shares, method: str) -> Shares:
    """The shares, if none is negative."""
    for name, share in shares.items():
        if share < 0:
            raise AdammsError(
                f"recipe: {method} gives {name} the weight {share:g}; expected none below 0. task_arithmetic,"
                " ties, dare_linear and dare_ties take them"
            )
    return shares


def _karcher(reading: Reading) -> Found:
    steps, tolerance = int(reading.number("max_iter", 10, least=1)), reading.share("tol", 1e-5)
    return _equal(reading)[0], {"steps": steps, "tolerance": tolerance}


def _model_stock(reading: Reading) -> Found:
    return _equal(reading)[0], {"per": "row" if reading.flag("filter_wise", False) else "tensor"}


def _ram(reading: Reading) -> Found:
    return _equal(reading)[0], {"epsilon": reading.share("epsilon", 1e-5)}


def _ram_plus(reading: Reading) -> Found:
    numbers = {"boost": reading.number("r", 0.1, least=0), "bound": reading.number("alpha", 0.2, least=0)}
    return _equal(reading)[0], _ram(reading)[1] | numbers


def _sce(reading: Reading) -> Found:
    density = reading.number("select_topk", 1.0)
    return (_equal(reading)[0] if density > 0 else {}), {"density": min(1.0, density) if density > 0 else 1.0}


def _task_vectors(reading: Reading, normalise: bool, elects: bool, positive: str = "") -> Found:
    """Weights, lambda, densities, and with an election how what agrees is combined."""
    normalise = reading.flag("normalize", normalise)
    densities = reading.numbers("density", 1.0)
    shares = _weights(reading, normalise and not elects)
    shares = {name: share if densities[name] > 0 else 0.0 for name, share in shares.items()}
    numbers: dict[str, Any] = {"scaling": reading.number("lambda", 1.0)}
    if elects:
        numbers["combine"] = "mean" if normalise else "sum"
    numbers["density"] = _of_all({name: min(1.0, d) if d > 0 else 1.0 for name, d in densities.items()})
    return (_positive(shares, positive) if positive else shares), numbers


def _of_all(numbers: Mapping[str, float]) -> float | dict[str, float]:
    """One number where all are the same."""
    return next(iter(numbers.values())) if len(set(numbers.values())) == 1 else dict(numbers)


def _task_arithmetic(reading: Reading) -> Found:
    shares, numbers = _task_vectors(reading, False, False)
    return shares, {"scaling": numbers["scaling"]}


def _without_rescale(reading: Reading, method: str) -> None:
    if reading.flag("rescale", False):
        raise AdammsError(
            f"recipe: rescale: true with {method} gives what is kept the sum of magnitudes of all; "
            f"merge={method} has no such factor: leave rescale out"
        )


def _ties(reading: Reading) -> Found:
    _without_rescale(reading, "ties")
    return _task_vectors(reading, True, True)


def _breadcrumbs(reading: Reading, elects: bool) -> Found:
    _without_rescale(reading, "breadcrumbs")
    shares, numbers = _task_vectors(reading, False, elects, "breadcrumbs")
    return shares, numbers | {"gamma": _of_all(reading.shares("gamma", 0.01))}


def _dare(reading: Reading, elects: bool) -> Found:
    shares, numbers = _task_vectors(reading, False, elects)
    if not reading.flag("rescale", True):
        density = numbers["density"]
        if isinstance(density, Mapping):
            raise AdammsError(
                "recipe: rescale: false needs one density for all models here; expected the same density, or "
                "rescale: true"
            )
        numbers["scaling"] *= density  # what is kept is divided by it
    return shares, numbers


def _della(reading: Reading, elects: bool) -> Found:
    shares, numbers = _task_vectors(reading, elects, elects, "della")
    rescale = reading.flag("rescale", True)
    return shares, numbers | {"epsilon": _of_all(reading.shares("epsilon", 0.15)), "rescale": rescale}


def _passthrough(reading: Reading) -> Found:
    if (
        len(reading.models) > 1
        or reading.says("scale")
        or any("scale" in own for own in reading.own.values())
    ):
        raise AdammsError(
            "recipe: passthrough with scale, or of several models at once, is not expressed here; expected "
            "one model in each slice, as it is"
        )
    return dict.fromkeys(reading.models, 1.0), {}


GTA = ("weight", "density", "normalize", "rescale", "lambda", "int8_mask")
TIES = {"density": 1.0, "scaling": 1.0, "scope": "tensor", "combine": "mean", "election": "weighted"}
BREADCRUMBS = {"density": 1.0, "gamma": 0.01, "scope": "tensor", "combine": "sum", "scaling": 1.0}
DELLA = {"density": 1.0, "epsilon": 0.15, "rescale": True, "combine": "mean", "scaling": 1.0, "seed": 0}
DARE = {"density": 1.0, "scaling": 1.0, "seed": 0}
RAM_PLUS = {"epsilon": 1e-5, "boost": 0.1, "bound": 0.2, "scope": "tensor", "scaling": 1.0}
RAM = RAM_PLUS | {"boost": 0.0}
ELECTED = {"scope": "tensor", "combine": "sum", "election": "weighted"}
MEANINGS = {
    "linear": Meaning(f"{ROOT}.linear.Linear", {}, "model", _linear, ("weight", "normalize")),
    "passthrough": Meaning(f"{ROOT}.linear.Linear", {}, "model", _passthrough),
    "slerp": Meaning(f"{ROOT}.slerp.Slerp", {"parallel": 0.9995}, "target", _slerp, ("t",), (2, 2)),
    "nuslerp": Meaning(
        f"{ROOT}.nuslerp.NuSlerp",
        {"per": "tensor"},
        "perhaps",
        _nuslerp,
        ("weight", "nuslerp_flatten", "nuslerp_row_wise"),
        (2, 2),
    ),
    "multislerp": Meaning(
        f"{ROOT}.multislerp.MultiSlerp", {}, "perhaps", _multislerp, ("weight", "normalize_weights")
    ),
    "arcee_fusion": Meaning(
        f"{ROOT}.arcee_fusion.ArceeFusion",
        {},
        "target",
        lambda reading: ({name: 1.0 for name in reading.models if name != TARGET}, {}),
        models=(2, 2),
    ),
    "karcher": Meaning(
        f"{ROOT}.karcher.Karcher",
        {"steps": 10, "tolerance": 1e-5},
        "model",
        _karcher,
        ("max_iter", "tol"),
    ),
    "model_stock": Meaning(
        f"{ROOT}.model_stock.ModelStockBounded",
        {"per": "tensor", "limit": False},
        "ancestor",
        _model_stock,
        ("filter_wise",),
        (2, math.inf),
    ),
    "ram": Meaning(f"{ROOT}.ram.Ram", RAM, "ancestor", _ram, ("epsilon",)),
    "ramplus_tl": Meaning(
        f"{ROOT}.ram.RamInFloat32", RAM_PLUS, "ancestor", _ram_plus, ("epsilon", "r", "alpha")
    ),
    "sce": Meaning(
        f"{ROOT}.sce.SceOfDonors",
        {"density": 1.0, "combine": "mean", "scaling": 1.0},
        "ancestor",
        _sce,
        ("select_topk", "int8_mask"),
    ),
    "task_arithmetic": Meaning(
        f"{ROOT}.task_arithmetic.TaskArithmetic", {"scaling": 1.0}, "ancestor", _task_arithmetic, GTA
    ),
    "ties": Meaning(f"{ROOT}.ties.Ties", TIES, "ancestor", _ties, GTA),
    "dare_linear": Meaning(
        f"{ROOT}.dare_linear.DareLinear", DARE, "ancestor", partial(_dare, elects=False), GTA
    ),
    "dare_ties": Meaning(
        f"{ROOT}.dare_ties.DareTies", DARE | ELECTED, "ancestor", partial(_dare, elects=True), GTA
    ),
    "breadcrumbs": Meaning(
        f"{ROOT}.breadcrumbs.BreadcrumbsRoundedDown",
        BREADCRUMBS | {"elect": False},
        "ancestor",
        partial(_breadcrumbs, elects=False),
        (*GTA, "gamma"),
    ),
    "breadcrumbs_ties": Meaning(
        f"{ROOT}.breadcrumbs.BreadcrumbsRoundedDown",
        BREADCRUMBS | {"elect": True},
        "ancestor",
        partial(_breadcrumbs, elects=True),
        (*GTA, "gamma"),
    ),
    "della": Meaning(
        f"{ROOT}.della.Della",
        DELLA | {"elect": True},
        "ancestor",
        partial(_della, elects=True),
        (*GTA, "epsilon"),
    ),
    "della_linear": Meaning(
        f"{ROOT}.della.Della",
        DELLA | {"elect": False, "combine": "sum"},
        "ancestor",
        partial(_della, elects=False),
        (*GTA, "epsilon"),
    ),
}

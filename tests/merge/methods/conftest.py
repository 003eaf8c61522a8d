"""The merges that every method is tested on: heterogeneous, fused, and of several donors."""

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_merges as merging
from slots import Pair, make_pair

CASES = ("heterogeneous", "fused", "two_donors")


@pytest.fixture(scope="session")
def cases(
    qwen2_vl: Path, onevision_hub: Path, qwen2: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, merging.Merge]:
    makers: dict[str, Callable[[Path], merging.Merge]] = {
        "heterogeneous": lambda _: merging.heterogeneous(qwen2_vl, onevision_hub, qwen2),
        "fused": merging.fused,
        "two_donors": merging.two_donors,
    }
    return {name: makers[name](tmp_path_factory.mktemp(name)) for name in CASES}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, cases: dict[str, merging.Merge]) -> merging.Merge:
    """A function from method and alpha to recipe, and the operands of every slot."""
    return cases[request.param]


@pytest.fixture(scope="session")
def heterogeneous(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A tiny pair with an ancestor and a second donor, written once per run."""
    return make_pair(tmp_path_factory.mktemp("heterogeneous"))

"""The examples in the docstrings of the merge's central types are true."""

import doctest
from pathlib import Path

import tiny
import tiny_merges

from adamms.merge import candidate, method, recipe, rules, shares
from adamms.merge.methods.linear import Linear


def test_examples(tmp_path: Path) -> None:
    folders = [tiny.write_model(tmp_path / name, tiny.llama_state(1)) for name in ("target", "donor")]
    pair = tiny_merges.interpolated(*folders, alpha=0.3)
    names = {"target": pair.target, "donor": pair.donors["a"], "plan": pair.plan, "Linear": Linear}
    for module in (candidate, method, recipe, rules, shares):
        found = doctest.testmod(module, extraglobs=names)
        assert found.attempted
        assert not found.failed, module.__name__

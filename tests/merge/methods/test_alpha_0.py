"""Which methods give the target back at alpha 0: as docs/methods.md says, and by the formula itself."""

import re
from pathlib import Path

import pytest
import tiny
import tiny_merges as merging
import torch
from command import CONF, ROOT
from configured import configured

OPTIONS = sorted(file.stem for file in (CONF / "merge").glob("*.yaml"))


def documented() -> list[list[str]]:
    """Three lists of methods: always, with a setting of theirs, never."""
    (text,) = re.findall(r"At alpha = 0 .*?, whose", (ROOT / "docs/methods.md").read_text(), re.DOTALL)
    names = [re.findall(r"`([a-z0-9_]+)`", part) for part in text.split("; ")]
    assert sorted(name for part in names for name in part) == OPTIONS
    return names


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("alpha_0")
    states = {
        name: tiny.llama_state(seed, dtype=torch.bfloat16)
        for seed, name in enumerate(("target", "donor", "ancestor"), 1)
    }
    # One change of the target is too small to count for `ram`.
    states["target"]["model.norm.weight"][0], states["ancestor"]["model.norm.weight"][0] = 2**-18, 0.0
    return {name: tiny.write_model(folder / name, state) for name, state in states.items()}


@pytest.mark.parametrize("option", OPTIONS)
def test_the_target_comes_back_at_alpha_0_as_documented(
    option: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    always, dense, _ = documented()

    def comes_back(**values: float) -> list[bool]:
        method = configured(f"merge/{option}", **values)
        kept = []
        for formula in (False, True):
            if formula:  # computed, not copied
                monkeypatch.setattr(type(method), "keeps_target", lambda *_: False)
            donors = {"a": folders["donor"]}
            recipe = merging.make(method, folders["target"], donors, folders["ancestor"], 0.0)
            same = [torch.equal(tensor, recipe.target.read(name)) for name, tensor in recipe.tensors()]
            kept.append(all(same))
        monkeypatch.undo()
        return kept

    assert comes_back() == [option in always] * 2
    if option in dense:
        settings = {"breadcrumbs": {"density": 1.0, "gamma": 0.0}, "ram": {"epsilon": 0.0}}
        assert comes_back(**settings.get(option, {"density": 1.0})) == [True, True]

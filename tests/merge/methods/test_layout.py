"""The same bytes for any number of threads and any size of chunks, of every method of conf/merge."""

import hydra
import pytest
import tiny
from command import ROOT
from hydra import compose, initialize_config_dir
from slots import Pair

from adamms.merge import stream
from adamms.merge.method import Method

METHODS = sorted(file.stem for file in (ROOT / "conf/merge").glob("*.yaml"))


def configured(name: str) -> Method:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", overrides=[f"merge={name}", "output=out", "cache=cache"])
    method: Method = hydra.utils.instantiate(config.merge.method)
    return method


@pytest.mark.parametrize("name", METHODS)
def test_threads_and_chunks_do_not_change_a_byte(
    heterogeneous: Pair, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = configured(name)
    alphas = {"a": 0.2} if name == "slerp" else {"a": 0.2, "b": 0.3}
    recipe = heterogeneous.recipe(method, alphas).measured()
    expected = dict(recipe.tensors(workers=1))
    for elements, workers in ((1, 3), (50, 2)):
        monkeypatch.setattr(stream, "CHUNK_ELEMENTS", elements)
        again = heterogeneous.recipe(method, alphas).measured()
        for tensor_name, tensor in again.tensors(workers=workers):
            tiny.assert_same_bits(tensor, expected[tensor_name])

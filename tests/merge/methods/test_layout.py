"""The same bytes for any number of threads and any size of chunks, of every method of conf/merge."""

import pytest
import tiny
from command import CONF
from configured import configured
from slots import Pair
from tiny_merges import measured

from adamms.merge import stream

METHODS = sorted(file.stem for file in (CONF / "merge").glob("*.yaml"))


@pytest.mark.parametrize("name", METHODS)
def test_threads_and_chunks_do_not_change_a_byte(
    heterogeneous: Pair, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = configured(f"merge/{name}", **({"steps": 3} if name == "wudi2" else {}))
    alphas = {"a": 0.2} if name in ("slerp", "nuslerp", "nuslerp_task") else {"a": 0.2, "b": 0.3}
    recipe = measured(heterogeneous.recipe(method, alphas))
    expected = dict(recipe.tensors(workers=1))
    for elements, workers in ((1, 3), (50, 2)):
        monkeypatch.setattr(stream, "CHUNK_ELEMENTS", elements)
        again = measured(heterogeneous.recipe(method, alphas))
        for tensor_name, tensor in again.tensors(workers=workers):
            tiny.assert_same_bits(tensor, expected[tensor_name])

"""What is measured of a sample of rows, where float32 cannot hold it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from adamms.checkpoint.reader import open_checkpoint
from adamms.mapping.checks.mapped_models import MappedModels
from adamms.mapping.checks.measure import measure_distances
from adamms.mapping.expression import Read
from adamms.mapping.plan import Plan, Slot


@pytest.mark.parametrize("shape", [(40, 6), (6,)])
def test_values_whose_squares_are_too_large_are_compared_in_silence(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    for name, scale in (("t", 1e30), ("d", 2e30)):
        (tmp_path / name).mkdir()
        values = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * scale
        save_file({"w": values}, tmp_path / name / "model.safetensors")
    target, donor = (open_checkpoint(tmp_path / name) for name in "td")
    plan = Plan("t", {"a": "d"}, (Slot("w", shape, "F32", "", {"a": Read("w")}),))
    (found,) = measure_distances(plan, MappedModels(target, {"a": donor})).tensors
    assert (found.distance, found.cosine) == (None, None)

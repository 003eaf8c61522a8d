"""Decompositions whose results do not depend on what a library leaves open."""

import numpy as np
import pytest
import torch
from configured import configured

from adamms.errors import AdammsError
from adamms.merge.catalogue import known_methods
from adamms.merge.method import Chunk, Method
from adamms.merge.singular import MatrixMethod, decompose, orthogonalised


@pytest.mark.parametrize("rank", [0, 1, 3, 5])
def test_numerical_rank_is_the_rank(rank: int) -> None:
    generator = torch.Generator().manual_seed(rank)
    left, right = (
        torch.randn(7, rank, generator=generator, dtype=torch.float64),
        torch.randn(rank, 5, generator=generator, dtype=torch.float64),
    )
    found = decompose(left @ right)
    assert len(found.values) == rank
    np.testing.assert_allclose(found.product(), left @ right, atol=1e-13)
    isometry = orthogonalised(left @ right)
    np.testing.assert_allclose(np.linalg.svd(isometry)[1], [1.0] * rank + [0.0] * (5 - rank), atol=1e-12)


def test_signs_of_columns_stay_where_they_are() -> None:
    matrix = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    signs = torch.tensor([1.0, -1, -1, 1], dtype=torch.float64)
    np.testing.assert_allclose(orthogonalised(matrix * signs), orthogonalised(matrix) * signs, atol=1e-13)


@pytest.mark.parametrize(
    "method",
    [configured(f"merge/{method.name}") for method in known_methods() if issubclass(method, MatrixMethod)],
)
@pytest.mark.parametrize("operand", ["target", "a", "ancestor"])
def test_a_matrix_with_nan_is_refused_by_name(method: Method, operand: str) -> None:
    values = {name: torch.ones(3, 3, dtype=torch.float64) for name in ("target", "a", "ancestor")}
    values[operand][1, 1] = torch.nan
    chunk = Chunk("w", (3, 3), 0, values["target"], {"a": values["a"]}, values["ancestor"], {"a": 0.5}, None)
    with pytest.raises(AdammsError, match=f"merge={method.name}: .*{operand}'s w has infinite or NaN"):
        method.merge(chunk)

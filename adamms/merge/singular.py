"""Methods that decompose matrices, and singular values in float64 with a result that is determined.

Singular vectors of a value that is zero are arbitrary, so they are left out here. The signs of the others
are arbitrary too, but cancel in the products that the methods form. Knows nothing of formulas.

A decomposition of an m x n matrix takes about 8 * (2 m n + 3 min(m, n)^2 + max(m, n) * min(m, n)) bytes
besides the matrix, and a time of about 20 * m * n * min(m, n) operations.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from adamms.architectures.roles import VOCABULARY_ROLES
from adamms.checkpoint.finite import finite
from adamms.errors import AdammsError
from adamms.merge.election import weighted_sum
from adamms.merge.method import Chunk, Method

# The rows of embeddings and heads are tokens; they do not map the inputs of a layer.
VOCABULARY = tuple(f"{role}." for role in VOCABULARY_ROLES)


def is_decomposed(chunk: Chunk, vocabulary_rows: int, method: str) -> bool:
    """Whether the tensor is a matrix that maps a layer's inputs: neither vector, embedding nor head.

    Args:
        vocabulary_rows: where roles are not known, a matrix with as many rows or more counts as an embedding.
        method: its name, for the message.

    Raises:
        AdammsError: an operand has an infinity or NaN: such a matrix has no singular values.
    """
    rows = len(chunk.target)
    if chunk.target.dim() != 2 or rows >= vocabulary_rows or chunk.role.startswith(VOCABULARY):
        return False
    for name, values in chunk.models().items():
        if not finite(values):
            raise AdammsError(
                f"merge={method}: {name}'s {chunk.slot} has infinite or NaN values, so that it has no "
                "singular values; leave the tensor out with mapper.exclude"
            )
    if not finite(chunk.base()):
        raise AdammsError(f"merge={method}: the ancestor's {chunk.slot} has infinite or NaN values")
    return True


class MatrixMethod(Method):
    """ancestor + scaling * a formula of the task vectors of a matrix; of all other tensors, of their sum.

    Attributes:
        scaling: what the merged task vector is multiplied with.
        vocabulary_rows: see `is_decomposed`.
    """

    scaling: float
    vocabulary_rows: int

    def merge(self, chunk: Chunk) -> torch.Tensor:
        decomposed = is_decomposed(chunk, self.vocabulary_rows, self.name)
        vectors, shares = chunk.sharing_vectors(), chunk.positive_shares
        merged = self.of_matrices(vectors, shares) if decomposed else weighted_sum(vectors, shares)
        return merged.mul_(self.scaling).add_(chunk.base())

    @abstractmethod
    def of_matrices(self, vectors: Mapping[str, torch.Tensor], shares: Mapping[str, float]) -> torch.Tensor:
        """The merged task vector (rows, columns) of task vectors of models with a share; overwrites them."""


@dataclass(frozen=True)
class Singular:
    """left @ diag(values) @ right: (m, r), (r,) descending and above zero, (r, n)."""

    left: torch.Tensor
    values: torch.Tensor
    right: torch.Tensor

    def leading(self, count: int) -> "Singular":
        """The part with the `count` largest values."""
        return Singular(self.left[:, :count], self.values[:count], self.right[:count])

    def product(self) -> torch.Tensor:
        return (self.left * self.values) @ self.right


def decompose(matrix: torch.Tensor, beside: float = 0.0) -> Singular:
    """The singular values of a matrix (m, n) that are not numerically zero, and their vectors.

    Zero is up to max(m, n) * 2**-52 of the largest, the usual bound of the numerical rank.

    Args:
        beside: of this instead, where it is larger: the norm of what the matrix is left of.
    """
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    least = values[:1].clamp(min=beside) * (max(matrix.shape) * torch.finfo(values.dtype).eps)
    return Singular(left, values, right).leading(int((values > least).sum()))


def orthogonalised(matrix: torch.Tensor) -> torch.Tensor:
    """The polar factor of a matrix (m, n): the nearest matrix with orthonormal rows or columns.

    Of a matrix without full rank it is the partial isometry with the same kernel.
    """
    found = decompose(matrix)
    return found.left @ found.right

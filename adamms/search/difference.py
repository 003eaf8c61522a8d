"""How much two answers differ: 0 for the same answer, about 1 for another one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from pydantic import PositiveInt

from adamms.engines.answer import normalised
from adamms.errors import AdammsError


@runtime_checkable
class Difference(Protocol):
    """A measure between two models' answers to the same examples."""

    def __call__(self, left: Sequence[str], right: Sequence[str]) -> npt.NDArray[np.float64]:
        """The difference of each pair of answers; shape (examples,), never negative."""
        ...


@dataclass(frozen=True)
class ExactMatch:
    """1 where the answers are not the same by `normalised` (paper; the authors' `exact_match`).

    >>> ExactMatch()(["Red", "two"], ["red", "three"]).tolist()
    [0.0, 1.0]
    """

    def __call__(self, left: Sequence[str], right: Sequence[str]) -> npt.NDArray[np.float64]:
        pairs = zip(left, right, strict=True)
        return np.array([normalised(a) != normalised(b) for a, b in pairs], dtype=np.float64)


class Embedding:
    """1 - cosine of the answers' sentence embeddings, for answers whose wording varies.

    The authors' `embedding` strategy with their default model; their script embeds every answer again for
    every comparison. Equal strings differ by exactly 0, opposite meanings by up to 2.

    Args:
        model: a name on the hub, or the folder, of a sentence-transformers model.
        device: where it runs, e.g. "cpu" or "cuda"; None for what sentence-transformers chooses.
        batch_size: answers embedded together.

    Raises:
        AdammsError: sentence-transformers is not installed, or cannot load the model; when first called.
    """

    def __init__(
        self,
        model: str,
        device: str | None,
        batch_size: PositiveInt,
    ) -> None:
        self.model = model
        self.device = device
        self.batch_size = batch_size
        self._vectors: dict[str, npt.NDArray[np.float64]] = {}  # answer -> unit vector, shape (width,)

    def __call__(self, left: Sequence[str], right: Sequence[str]) -> npt.NDArray[np.float64]:
        self._embed([*left, *right])
        differences = [
            0.0 if a == b else max(0.0, 1.0 - float(self._vectors[a] @ self._vectors[b]))
            for a, b in zip(left, right, strict=True)
        ]
        return np.array(differences, dtype=np.float64)

    def _embed(self, answers: Iterable[str]) -> None:
        """Embed those that are new, each once."""
        new = [answer for answer in dict.fromkeys(answers) if answer not in self._vectors]
        if not new:
            return
        vectors = self._encoder.encode(
            new, batch_size=self.batch_size, convert_to_numpy=True, show_progress_bar=False
        ).astype(np.float64)  # (new, width)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        self._vectors |= zip(new, vectors / np.maximum(lengths, 1e-12), strict=True)

    @cached_property
    def _encoder(self) -> Any:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise AdammsError(
                "search/difference=embedding needs the extra `embedding`: pip install -e '.[embedding]'"
            ) from error
        try:
            return SentenceTransformer(self.model, device=self.device)
        except (OSError, ValueError, RuntimeError) as error:
            raise AdammsError(
                f"search.difference.model: sentence-transformers cannot load {self.model!r} "
                f"({type(error).__name__}: {str(error)[:300]})"
            ) from error

"""The difference of sentence embeddings, for answers whose wording varies."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from pydantic import PositiveInt

from adamms.errors import AdammsError, install
from adamms.search.difference import Difference, corrected
from adamms.search.resampling import Array


class Embedding(Difference):
    """1 - cosine of the answers' sentence embeddings, cut at 1, for answers whose wording varies.

    The authors' `embedding` strategy with their default model; their script embeds every answer again for
    every comparison. Equal strings differ by exactly 0.

    Args:
        model: a name on the hub, or the folder, of a sentence-transformers model.
        device: where it runs, e.g. "cpu" or "cuda"; None for what sentence-transformers chooses.
        batch_size: answers embedded together.
        corrected: whether `suited` corrects for chance; see `Corrected`.

    Raises:
        AdammsError: sentence-transformers is not installed, or cannot load the model; when first called.
    """

    name = "sentence embeddings"
    extra = "embedding"  # that it needs

    def __init__(self, model: str, device: str | None, batch_size: PositiveInt, corrected: bool) -> None:
        self.model = model
        self.device = device
        self.batch_size = batch_size
        self.corrected = corrected
        self._vectors: dict[str, Array] = {}  # answer -> unit vector, shape (width,)

    def __call__(self, left: Sequence[str], right: Sequence[str]) -> Array:
        self._embed([*left, *right])
        cosines = [
            1.0 if a == b else float(self._vectors[a] @ self._vectors[b])
            for a, b in zip(left, right, strict=True)
        ]
        return np.clip(1.0 - np.array(cosines, dtype=np.float64), 0.0, 1.0)

    def suited(self, answers: Sequence[Sequence[str]]) -> Difference:
        return corrected(self, answers) if self.corrected else self

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
                f"search/difference=embedding needs the extra `embedding`: {install('embedding')}"
            ) from error
        try:
            return SentenceTransformer(self.model, device=self.device)
        except (OSError, ValueError, RuntimeError) as error:
            raise AdammsError(
                f"search.difference.model: sentence-transformers cannot load {self.model!r} "
                f"({type(error).__name__}: {str(error)[:300]})"
            ) from error

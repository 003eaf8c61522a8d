"""Over how many meanings a candidate spreads its belief: semantic entropy."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from adamms.engines.thought import without_thought
from adamms.merge.candidate import Candidate
from adamms.search.difference import Difference
from adamms.search.evidence import Evidence, said, texts_and_cuts
from adamms.search.resampling import Array
from adamms.search.signals.likelihood import Pooled, mean_log_probability
from adamms.search.signals.signal import check_given

Clusters = list[list[str]]


@dataclass(frozen=True)
class SemanticEntropy(Pooled):
    """The entropy (nats) over clusters of equivalent answers of the pool, by a candidate's probabilities.

    Farquhar, Kossen, Kuhn & Gal, "Detecting hallucinations in large language models using semantic entropy",
    Nature 630, 625 (2024): a text joins the first cluster whose first text it is equivalent to; a cluster is
    as probable as its texts together, each with the geometric mean of its tokens' probabilities, and the
    clusters' probabilities are made to sum to one. There a model samples the texts and another one decides
    by entailment in both directions which are equivalent. Here everybody's greedy answers are the texts, and
    two are equivalent if they differ by at most `threshold`.

    Args:
        pool: whose texts; see `Pooled`.
        threshold: the search's difference between two texts up to which they mean the same.
    """

    threshold: Annotated[float, Ge(0), Le(1)]

    because = "it is surest of one meaning among everybody's answers"

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        check_given(evidence, "scored")
        clusters = self._clusters(evidence, examples, difference)

        def against(candidate: Candidate, example: str) -> float:
            scored = evidence.scored[candidate][example]
            logs = [
                np.logaddexp.reduce([mean_log_probability(scored[text]) for text in cluster])
                for cluster in clusters[example]
            ]
            shares = logs - np.logaddexp.reduce(logs or [0.0])  # logarithms of what adds up to one
            return float(-(np.exp(shares) * shares).sum())

        return np.array([[against(c, e) for e in examples] for c in evidence.order])

    def _clusters(
        self, evidence: Evidence, examples: Sequence[str], difference: Difference
    ) -> dict[str, Clusters]:
        """Example -> the pool's texts, cluster by cluster."""
        pools = {e: list(texts_and_cuts(said(evidence, self.pool, e))) for e in examples}
        pairs = [(e, *pair) for e, texts in pools.items() for pair in combinations(texts, 2)]
        apart = difference(
            [without_thought(a) for _, a, _ in pairs], [without_thought(b) for _, _, b in pairs]
        )
        same = {pair for pair, value in zip(pairs, apart, strict=True) if value <= self.threshold}
        found: dict[str, Clusters] = {}
        for example, texts in pools.items():
            clusters: Clusters = []
            for text in texts:
                for cluster in clusters:
                    if (example, cluster[0], text) in same:
                        cluster.append(text)
                        break
                else:
                    clusters.append([text])
            found[example] = clusters
        return found

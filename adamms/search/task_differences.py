"""What each task's answers are compared with. Knows no signals of its own and no models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from adamms.search.difference import Difference, expected
from adamms.search.evidence import Answers, Evidence, texts
from adamms.search.likeness import likeness
from adamms.search.resampling import Array
from adamms.search.signals.signal import Signal


@dataclass(frozen=True)
class TaskDifferences:
    """The difference that suits each task, whose examples are known.

    Args:
        of: task -> its difference.
        tasks: example id -> its task.
    """

    of: Mapping[str, Difference]
    tasks: Mapping[str, str]

    @classmethod
    def suited(
        cls, difference: Difference, evidence: Evidence, tasks: Mapping[str, Sequence[str]]
    ) -> "TaskDifferences":
        """Decided by the answers of the first and the last candidate, and of the donors.

        These are asked before anything is inferred, so the decision does not depend on what is.

        Args:
            tasks: task -> ids of its examples.
        """
        order = evidence.order
        models = [evidence.candidates[order[0]], evidence.candidates[order[-1]], *evidence.donors.values()]
        found: dict[str, Difference] = {}
        for task, examples in tasks.items():
            asked = [model for model in models if all(example in model for example in examples)]
            found[task] = difference.suited([texts(model, examples) for model in asked])
        return cls(found, {example: task for task, examples in tasks.items() for example in examples})

    def held(self, signal: Signal, evidence: Evidence, examples: Sequence[str]) -> Array:
        """What each example says against each candidate by the signal; shape (candidates, examples).

        Likeness to answers to other tasks is looked at where a difference is graded: answers of a word or a
        letter are too short to tell what they are answers to.

        Args:
            examples: of all tasks, if the signal looks across them.
        """
        found = np.empty((len(evidence.candidates), len(examples)))
        like = likeness(evidence, self.tasks, examples) if signal.across else {}
        for difference, places in self._parts(examples):
            part = [examples[place] for place in places]
            likeness_to_others = like.get(self.tasks[part[0]], ()) if difference.graded else ()
            own = replace(evidence, likeness=likeness_to_others)
            found[:, places] = signal.differences(own, part, difference)
        return found

    def between(self, left: Answers, right: Answers, examples: Sequence[str]) -> Array:
        """How much two models' answers differ; shape (examples,)."""
        found = np.empty(len(examples))
        for difference, places in self._parts(examples):
            part = [examples[place] for place in places]
            found[places] = difference(texts(left, part), texts(right, part))
        return found

    def unrelated(self, left: Answers, right: Answers, examples: Sequence[str]) -> float:
        """How much two models' answers differ that have nothing to do with each other, on average.

        By a graded difference those of the task to different examples; by any other one, and where that says
        nothing, it is 1.
        """
        found = np.ones(len(examples))
        for difference, places in self._parts(examples):
            part = [examples[place] for place in places]
            if difference.graded:
                found[places] = expected(difference, [texts(left, part), texts(right, part)]) or 1.0
        return float(found.mean())

    def graded(self, examples: Sequence[str]) -> bool:
        """Whether any of these is compared by more than same or not."""
        return any(difference.graded for difference, _ in self._parts(examples))

    def names(self, examples: Sequence[str]) -> str:
        """What these are compared by, for people."""
        return "; ".join(dict.fromkeys(difference.name for difference, _ in self._parts(examples)))

    def _parts(self, examples: Sequence[str]) -> list[tuple[Difference, list[int]]]:
        """Of each task the difference, and the places of its examples."""
        parts: dict[str, list[int]] = {}
        for place, example in enumerate(examples):
            parts.setdefault(self.tasks[example], []).append(place)
        return [(self.of[task], places) for task, places in parts.items()]

"""What there is to ask, and which of it the search looks at. Knows no models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from adamms.app.settings import Run
from adamms.data.example import Dataset, Example
from adamms.evaluate.score import check_labels
from adamms.report.console import Console
from adamms.search.candidates import subset


@dataclass(frozen=True)
class Questions:
    """What there is to ask.

    Args:
        data: all examples, and the labels of some.
        searched: task -> ids of the examples that the search looks at.
    """

    data: Dataset
    searched: Mapping[str, Sequence[str]]

    @property
    def inputs(self) -> list[Example]:
        """The examples that the search looks at, in the data's order."""
        chosen = {example for ids in self.searched.values() for example in ids}
        return [example for example in self.data.examples if example.id in chosen]

    def asked(self, scored: bool) -> list[Example]:
        """What the search looks at and, where answers are scored, the examples with labels."""
        return list(dict.fromkeys([*self.inputs, *(self.labelled if scored else [])]))

    @property
    def labelled(self) -> list[Example]:
        return [example for example in self.data.examples if example.id in self.data.answers]


def load_questions(run: Run, console: Console) -> Questions:
    """Read the data, say what is odd about it, draw the examples of the search, get what they show.

    Raises:
        AdammsError: bad data, labels that the scorer cannot use, or pictures that cannot be had.
    """
    data = run.data.load()
    for note in data.notes:
        console.warn(note)
    if run.scorer is not None:
        check_labels(run.scorer, data.answers)
    questions = Questions(data, subset([(e.id, e.task) for e in data.examples], run.samples, run.seed))
    wanted = data.unwritten & {example.id for example in questions.asked(run.scorer is not None)}
    if not wanted:
        return questions
    with console.stage("get pictures", len(wanted), "examples") as advance:
        return replace(questions, data=data.written(wanted, advance))

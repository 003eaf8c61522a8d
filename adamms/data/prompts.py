"""What goes around a question: one template for all tasks, others for some of them. Knows no files."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from adamms.errors import AdammsError, nearest

SHOWN = 8  # tasks


@dataclass(frozen=True)
class Prompts:
    """Templates for the questions with options, or for those without.

    >>> prompts = Prompts("prompt", "{question}", {"vqa": "{question} Shortly."}, {"vqa": ["vqav2_val"]})
    >>> prompts.filled("vqav2_val", question="Red?"), prompts.filled("other", question="Red?")
    ('Red? Shortly.', 'Red?')

    Args:
        key: of the group `data` that holds the template: "prompt" or "choice_prompt".
        template: for tasks without one of their own.
        by_task: task -> its own template.
        benchmarks: benchmark -> other names of its task. Not all of them need be in the data.
        places: what every template has, to be filled.
    """

    key: str
    template: str
    by_task: Mapping[str, str]
    benchmarks: Mapping[str, Sequence[str]]
    places: tuple[str, ...] = ("question",)

    def __post_init__(self) -> None:
        for key, template in self._all().items():
            for place in self.places:
                if f"{{{place}}}" not in template:
                    raise AdammsError(f"data.{key} is {template!r}; expected {{{place}}} in it")

    def filled(self, task: str, **values: str) -> str:
        """The task's prompt with all places filled at once: braces in a question stay as they are."""
        template = self.by_task.get(self._name(task), self.template)
        return re.sub(r"\{(\w+)\}", lambda place: values.get(place[1], place[0]), template)

    def check(self, tasks: Collection[str], others: Collection[str]) -> None:
        """Raise AdammsError for a task's own template that no question is asked with.

        Args:
            tasks: of the questions that these templates are for.
            others: of the other questions.
        """
        for name in self.by_task:
            if name in tasks or name in self.benchmarks:
                continue
            where, known = f"data.{self.key}s.{name}", sorted({*tasks, *others})
            if name in others:
                own = {"prompt": "options: data.choice_prompts", "choice_prompt": "no options: data.prompts"}
                raise AdammsError(f"{where}: all lines of {name!r} have {own[self.key]}.{name} is theirs")
            listed = ", ".join(known[:SHOWN]) + (f" and {len(known) - SHOWN} more" if known[SHOWN:] else "")
            raise AdammsError(
                f"{where}: no line has the task {name!r}; the tasks are {listed}.{nearest(name, known)}"
            )

    def notes(self, tasks: Collection[str]) -> Iterator[str]:
        """What may not be meant: tasks without a template where others have one, and places not filled."""
        without = sorted(task for task in tasks if self.by_task and self._name(task) not in self.by_task)
        for task in without[:SHOWN]:
            near = nearest(task, self.by_task)
            yield f"the task {task!r} has no prompt in data.{self.key}s and gets data.{self.key}.{near}"
        if without[SHOWN:]:
            yield f"so do {len(without) - SHOWN} more tasks"
        places = [f"{{{place}}}" for place in self.places]
        for key, template in self._all().items():
            for stray in re.findall(r"\{\s*\w+\s*\}", template):
                if stray not in places:
                    yield f"data.{key}: {stray} stays as it is; only {' and '.join(places)} is filled in"

    def _name(self, task: str) -> str:
        """The name under which the task's template is."""
        if task in self.by_task:
            return task
        lower = task.casefold()
        return next((name for name, others in self.benchmarks.items() if lower in (name, *others)), task)

    def _all(self) -> dict[str, str]:
        """Key -> template."""
        own = {f"{self.key}s.{task}": template for task, template in self.by_task.items()}
        return {self.key: self.template} | own

"""One live engine that answers at any setting of the merge. Knows no page.

An answer is asked for, proven and kept as that of mode=respond.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from adamms.app.asker import UNMERGED, Answers, Asker, Given
from adamms.app.donors import ask_donor, asked_of
from adamms.app.explorer.dials import along, dials_of
from adamms.app.explorer.tokens import Word, words_of
from adamms.app.live import live, tell_of_store
from adamms.app.merges import Merges
from adamms.app.models import prompt_files
from adamms.app.output import Output, write_merged
from adamms.app.output_folder import check_output
from adamms.app.settings import Run
from adamms.data.example import Example, Medium, Video
from adamms.engines.answer import Answer
from adamms.engines.base import EngineSettings
from adamms.engines.digest import example_digest
from adamms.engines.stored_engine import StoredEngine
from adamms.errors import AdammsError, cause
from adamms.mapping.checks.distance import Distances
from adamms.merge.candidate import Candidate
from adamms.report.console import Console

OWN = "own"  # the task of what somebody asks


class Explorer:
    """Answers of the target, the merge and the donors, to examples of the data and to others.

        with Explorer(run, console, merges, examples, checks) as explorer:
            explorer.merged(Candidate(0.37), example).text
            explorer.use(Candidate(0.37))              # writes output/0.37/model

    Several threads may ask; one at a time is answered. The engine starts with the first question, and anew
    after an error.

    Args:
        run: with an engine that gives log-probabilities.
        merges: measured.
        examples: of the data.
        checks: how far the models are from each other, for the report of what is written.

    Attributes:
        dials: the numbers of the merge that can be turned.
        silent: donor name -> why it is not asked.
    """

    def __init__(
        self,
        run: Run,
        console: Console,
        merges: Merges,
        examples: Sequence[Example],
        checks: Distances | None = None,
    ) -> None:
        self.run = run
        self.console = console
        self.merges = merges
        self.examples = {example.id: example for example in examples}
        self.checks = checks
        self.dials = dials_of(run)
        self.silent: dict[str, str] = {}
        self._donors: dict[str, Given] = {name: {} for name in merges.models.donors}
        self._answers: Answers = {}
        self._unmerged: Answers = {}
        self._processors: dict[str, Any] = {}
        self._engine: StoredEngine | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._stop()

    def ask_donors(self, examples: Sequence[Example]) -> None:
        """Have every donor answer, as a model of its own: the merge's leaves the machine for it.

        What a donor cannot be asked, and why, is in `silent` afterwards.
        """
        with self._lock:
            for name, donor in self.merges.models.donors.items():
                known = self._donors[name]
                wanted = [example for example in asked_of(donor, examples) if example.id not in known]
                if not wanted:
                    continue
                self._stop()
                try:
                    known |= ask_donor(self.run, self.console, self.merges, name, "explore", wanted)
                except Exception as error:  # noqa: BLE001  (engines and processors raise many kinds)
                    self.silent[name] = cause(error)
                    self.console.warn(f"donor {name} is not asked: {self.silent[name]}")
                else:
                    self.silent.pop(name, None)

    def donor(self, name: str, example: Example) -> Answer | None:
        """What a donor has answered so far; None if nothing."""
        return self._donors[name].get(example.id)

    def can_be_asked(self, name: str, example: Example) -> bool:
        """Whether a donor understands the question: a language model alone sees no images."""
        return bool(asked_of(self.merges.models.donors[name], [example]))

    def target(self, example: Example) -> Answer:
        """The target's own answer.

        Raises:
            AdammsError: the engine cannot answer.
        """
        with self._lock:
            return self._asked(lambda asker: asker.ask_target([example], "target"))[UNMERGED][example.id]

    def merged(self, candidate: Candidate, example: Example) -> Answer:
        """The answer of the model merged at these settings.

        Raises:
            AdammsError: settings that cannot be merged with, or the engine cannot answer.
        """
        self.merges.check(candidate)

        def ask(asker: Asker) -> Answers:
            asker.fill(f"explore {candidate}", asker.answers, [candidate], self.merges.at, [example])
            return asker.answers

        with self._lock:
            return self._asked(ask)[candidate][example.id]

    def along(self, candidate: Candidate, example: Example) -> Iterator[dict[Candidate, Answer | None]]:
        """The answers along the grid, the other settings as they are, each time that there is one more.

        None where no engine is live: one that has died starts with a question, not for these.
        """
        if self._engine is None:
            return
        _, candidates = along(self.run.grid, candidate)
        found = {each: self._answers.get(each, {}).get(example.id) for each in candidates}
        yield dict(found)
        for each in candidates:
            if found[each] is None:
                found[each] = self.merged(each, example)
                yield dict(found)

    def own(self, question: str, *media: Medium) -> Example:
        """What somebody asks, checked as the data are.

        Args:
            media: images, then a video; as the data's, or uploaded.

        Raises:
            AdammsError: an image that does not decode, or what the target cannot be asked.
        """
        from adamms.engines.askable import check_askable  # takes seconds to import

        if not question.strip():
            raise AdammsError("there is no question; write one")
        images = [medium for medium in media if isinstance(medium, Path)]
        example = Example(
            id="",
            task=OWN,
            question=question,
            image=images[0] if images else None,
            where="your question",
            more_images=tuple(images[1:]),
            video=next((medium for medium in media if isinstance(medium, Video)), None),
        )
        example = replace(example, id=example_digest(example))
        target = self.merges.models.target
        processor = self._processor("")
        limits = self._settings.limits_of(target.checkpoint.config, processor)
        check_askable(target.name, processor, [example], lambda _: None, limits)
        return self.examples.setdefault(example.id, example)

    def words(self, answer: Answer, donor: str = "") -> tuple[Word, ...]:
        """The answer's tokens as text.

        Args:
            donor: whose answer it is; "" for the target's and the merge's.
        """
        processor = self._processor(donor)
        return words_of(answer, getattr(processor, "tokenizer", processor))

    def use(self, candidate: Candidate) -> Path:
        """Write the model merged at these settings as mode=merge does, into their own folder in the output.

        Raises:
            AdammsError: another model is there, or it cannot be written.
        """
        settings, place = self.run.merge.at(candidate), self.run.output / str(candidate).replace(" ", "")
        config = {**self.run.config, "merge": self.run.merge.node_at(candidate), "output": str(place)}
        run = replace(self.run, merge=settings, config=config, output=place)
        check_output(replace(run, mode="merge"))
        output = Output(run, replace(self.merges, settings=settings), self.console)
        output.check()
        with self._lock:
            write_merged(output, self.checks)
        return output.folder

    def _processor(self, donor: str) -> Any:
        """A donor's processor; of "" the target's."""
        if donor not in self._processors:
            models = self.merges.models
            model = models.donors[donor] if donor else models.target
            files = prompt_files(model.source)
            self._processors[donor] = self._settings.processor(model.checkpoint.folder, files)
        return self._processors[donor]

    @property
    def _settings(self) -> EngineSettings:
        assert isinstance(self.run.engine, EngineSettings), "settings lets logs in with mode=search alone"
        return self.run.engine

    def _asked(self, ask: Callable[[Asker], Answers]) -> Answers:
        """What the live engine answers; after an error the next question starts another.

        Raises:
            AdammsError: whatever it is that went wrong.
        """
        if self._engine is None:
            self._engine = live(self.run, self.console, self.merges.models.target).__enter__()
        folder = self.run.cache / "disturbed"
        asker = Asker(self.console, self.merges, self._engine, {}, (), {}, folder, self._answers)
        asker.unmerged = self._unmerged
        try:
            return ask(asker)
        except Exception as error:
            self._stop(error)
            raise AdammsError(cause(error)) from error

    def _stop(self, error: Exception | None = None) -> None:
        """End the engine, if one is live."""
        engine, self._engine = self._engine, None
        if engine is not None:
            tell_of_store(self.console, engine)
            engine.__exit__(*((type(error), error, error.__traceback__) if error else (None, None, None)))

"""An engine behind the store of answers: only what is missing is generated.

Owns what makes two answers the same one. Knows nothing of search.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import Self

from adamms.checkpoint.fingerprint import fingerprint_side_files
from adamms.checkpoint.reader import Checkpoint
from adamms.data.example import Example
from adamms.engines.answer import Answer
from adamms.engines.base import Engine, UnprovenError
from adamms.engines.digest import digest, example_digest
from adamms.engines.store import AnswerStore, NoStore, proven
from adamms.engines.swaps import ProvenSwaps, Swaps
from adamms.merge.recipe import Recipe

OF_SCORES = {"of": "scores"}  # what the key of scores has beside that of answers


class StoredEngine:
    """An engine that generates only what the store lacks, and starts only if something is missing.

    The key holds everything but the example that decides an answer: the recipe's fingerprint (or, of a model
    that runs as it is, the checkpoint's), the tokenizer, processor and chat template beside the target's
    weights, and the engine with its version and generation settings. Fingerprints sample at most 3 x 4 KiB of
    every tensor (`checkpoint.fingerprint`), so a few weights edited by hand may go unnoticed.

    Answers are kept as they come, also before their candidate's swap is proven (see `swaps`). Where the proof
    finds other weights, they are taken out of the store again. Leaving proves, too, also after an error or
    Ctrl-C. Only of a process that is killed, or whose engine no longer answers, unproven answers stay: later
    runs take them and count them in `unproven`.

    Args:
        engine: what generates; entered and left together with this one.
        folder: of the store; None for no store.
        checkpoint: the model that the engine was made from.
        verify: whether swaps are proven: the first one at once, and what follows by `prove`.

    Attributes:
        found: how many answers the store had so far.
        generated: how many were missing and have been generated.
        scores_found, scores_made: the same of scores.
        damaged: how many lines of the store were left out, being torn or changed.
        unproven: how many answers, of those that the store had, are of swaps that nobody has proven.
    """

    def __init__(
        self, engine: Engine, folder: Path | None, checkpoint: Checkpoint, verify: bool = False
    ) -> None:
        self.engine = engine
        self._swaps = ProvenSwaps(engine) if verify else Swaps(engine)
        self._doubtful: Counter[Path] = Counter()  # file -> answers in it of candidates that are not proven
        self._failed = False  # whether the last proof has, which is said once
        self.folder = folder
        self.checkpoint = checkpoint
        self.found = 0
        self.generated = 0
        self.scores_found = 0
        self.scores_made = 0
        self._damaged: dict[str, int] = {}  # by what the answers are of
        self._unproven: dict[str, int] = {}
        self._recipe: Recipe | None = None
        self._loaded = True  # as long as there is no recipe, the model as it is
        self._digest = cache(lambda e: example_digest(e, engine.sampling if e.video else ""))

    @property
    def identity(self) -> str:
        return self.engine.identity

    @property
    def sampling(self) -> str:
        return self.engine.sampling

    @property
    def damaged(self) -> int:
        return sum(self._damaged.values())

    @property
    def unproven(self) -> int:
        return sum(self._unproven.values())

    def __enter__(self) -> Self:
        self.engine.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._digest.cache_clear()
        try:
            if not self._failed:
                self._prove_after(any(error))
        finally:
            self.engine.__exit__(*error)

    def prove(self) -> None:
        """Prove the swaps since the last proof, if there were any.

        Raises:
            UnprovenError: the engine does not hold what it should. The answers since the last proof are no
                longer in the store.
            AdammsError: the engine has died: they are still there, and doubtful.
        """
        if self._swaps.doubtful:
            self._loaded = self._recipe is None
        self._failed = True
        with self._withdrawn():
            self._swaps.prove()
        self._failed = False
        self._forget_doubts()

    @contextmanager
    def proven(self) -> Iterator[None]:
        """Prove what the body loads, also where it fails; its error goes on unless weights are wrong."""
        try:
            yield
        except Exception:
            self._prove_after(True)
            raise
        self.prove()

    def _prove_after(self, failed: bool) -> None:
        """Prove. After a failure it is no news that the engine cannot be asked for a proof."""
        try:
            self.prove()
        except UnprovenError:
            raise
        except Exception:
            if not failed:
                raise

    def load(self, recipe: Recipe) -> None:
        """Remember the recipe; the engine loads it when an answer turns out to be missing."""
        self._recipe, self._loaded = recipe, False

    def checksums(self) -> Mapping[str, str]:
        return self.engine.checksums()

    def generate(self, examples: Sequence[Example]) -> Iterator[tuple[str, Answer]]:
        """Stored answers at once, then the missing ones as the engine gives and the store keeps them.

        Examples that ask the same of the same image get the same answer, generated once.
        """

        def ask(places: Sequence[int]) -> Iterator[tuple[int, Answer]]:
            by_id = {examples[place].id: place for place in places}
            for name, answer in self.engine.generate([examples[place] for place in places]):
                yield by_id[name], answer

        digests = [self._digest(example) for example in examples]
        for place, answer, known in self._given(self._subject(), digests, ask):
            self.found += known
            self.generated += not known
            yield examples[place].id, answer

    def score(self, said: Sequence[tuple[Example, str]]) -> Iterator[tuple[int, Answer]]:
        """As `generate`, for scores. They have keys of their own in the store."""

        def ask(places: Sequence[int]) -> Iterator[tuple[int, Answer]]:
            for number, answer in self.engine.score([said[place] for place in places]):
                yield places[number], answer

        digests = [digest(json.dumps([self._digest(example), text]).encode()) for example, text in said]
        for place, answer, known in self._given(self._subject() | OF_SCORES, digests, ask):
            self.scores_found += known
            self.scores_made += not known
            yield place, answer

    def _given(
        self,
        subject: Mapping[str, str],
        digests: Sequence[str],
        ask: Callable[[Sequence[int]], Iterator[tuple[int, Answer]]],
    ) -> Iterator[tuple[int, Answer, bool]]:
        """(place in `digests`, answer, whether the store had it); what is the same is asked once.

        Args:
            ask: has the engine answer what is at these places.
        """
        store = NoStore() if self.folder is None else AnswerStore(self.folder, subject)
        known = store.read()
        # Later they include what others, and this process, are writing now.
        self._damaged.setdefault(str(subject), store.damaged)
        self._unproven.setdefault(str(subject), store.unproven)
        missing: dict[str, list[int]] = {}
        for place, key in enumerate(digests):
            if key in known:
                yield place, known[key], True
            else:
                missing.setdefault(key, []).append(place)
        if not missing:
            return
        if self._recipe is not None and not self._loaded:
            with self._withdrawn():
                self._swaps.load(self._recipe)
            self._loaded, self._failed = True, False
            if not self._swaps.doubtful:
                self._forget_doubts()
        with closing(store):
            for asked, answer in ask([alike[0] for alike in missing.values()]):
                store.add(digests[asked], answer, self._swaps.doubtful)
                if self._swaps.doubtful:
                    self._doubtful.update(store.written[-1:])
                for place in missing[digests[asked]]:
                    yield place, answer, False

    @contextmanager
    def _withdrawn(self) -> Iterator[None]:
        """Take doubtful answers out of the store if a proof fails; what fails otherwise leaves them."""
        try:
            yield
        except UnprovenError as error:
            self._failed = True
            answers = sum(self._doubtful.values())
            for file in self._doubtful:
                file.unlink(missing_ok=True)
            self._forget_doubts()
            stored = f"; {answers} answers since the last proof are taken out of the store, the others stay"
            raise UnprovenError(f"{error}{'' if self.folder is None else stored}") from error

    def _forget_doubts(self) -> None:
        proven(self._doubtful)
        self._doubtful.clear()

    def _subject(self) -> dict[str, str]:
        own, recipe = self.checkpoint, self._recipe
        model = {"checkpoint": own.fingerprint} if recipe is None else {"recipe": recipe.fingerprint}
        return model | {"inputs": self._inputs, "engine": self.engine.identity}

    @cached_property
    def _inputs(self) -> str:
        """A digest of what turns a question into the model's inputs, and tokens into text."""
        return fingerprint_side_files(self.checkpoint.folder)

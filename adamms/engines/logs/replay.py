"""engine=replay: answers from other tools' logs; no model is loaded or merged.

Owns which records of different logs are the same example. Reads neither labels nor scores. File formats
are in `formats`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

from adamms.engines.answer import Answer
from adamms.engines.logs.folder import OLD_RESULTS, SAMPLES, FoundModels, find_logs, find_models
from adamms.engines.logs.formats import Log, Record, read_log
from adamms.errors import AdammsError
from adamms.merge.candidate import Candidate

UNNAMED = "default"  # the task of files that do not say theirs
Place = str | Mapping[str, str]  # a file, a folder, or task -> file


@dataclass(frozen=True)
class Replayed:
    """What the logs hold in common.

    Args:
        answers: candidate -> {example id -> answer}; of the examples that all candidates have answered.
        tasks: task -> ids of its examples, in the order of the lowest alpha's log.
        notes: sentences: where the answers come from, and what was left out.
        doubts: task -> sentences: why its logs hardly support a choice.
        files: candidate -> task -> the log that was read.
        others: name of another model -> task -> its log, of these tasks.
    """

    answers: Mapping[Candidate, Mapping[str, Answer]]
    tasks: Mapping[str, Sequence[str]]
    notes: Sequence[str]
    doubts: Mapping[str, Sequence[str]]
    files: Mapping[Candidate, Mapping[str, Path]]
    others: Mapping[str, Mapping[str, Path]]


@dataclass(frozen=True, kw_only=True)
class Replay:
    """The logs of a whole grid.

        logs = {"0.0": "target.tsv", "0.1": "merged.tsv"}
        Replay(logs=logs, format="auto", align="auto", filtered=[], only={}).read().answers

    Args:
        logs: alpha -> a file; a folder of lmms-eval's logs, one file per task; or {task: file}. Or a folder
            of such folders: those that a number names are alphas, the others other models.
        format: the only tool whose logs are expected; `auto` for any.
        align: what makes two records the same example: its `content` (lmms-eval's doc_hash), its `number`
            (doc_id, index), or `auto`: the content, unless the logs of a task have no content in common.
            That happens: of an image that was decoded already, lmms-eval hashes the address.
        filtered: patterns of task names whose filtered answers are compared instead of the raw ones; the
            authors' script does so for MMMU.
        only: task -> names of fields; records that have none of them are left out. So the authors' script
            keeps the perception half of MME.
        others: name -> the logs of another model, such as a donor or a merge by another method. They are not
            searched, but scored beside the candidates.
        batch_size, max_new_tokens: without effect; experiments set them for the engines that generate.

    Raises:
        AdammsError: no logs, or a bad alpha.
    """

    name: ClassVar[str] = "replay"
    logprobs: ClassVar[int] = 0  # logs have none

    logs: Mapping[str, Place] | str
    format: Literal["auto", "lmms_eval", "vlmevalkit"]
    align: Literal["auto", "content", "number"]
    filtered: Sequence[str]
    only: Mapping[str, Sequence[str]]
    others: Mapping[str, Place]
    batch_size: int | None = None
    max_new_tokens: int | None = None

    def __post_init__(self) -> None:
        if not self.logs:
            raise AdammsError("engine.logs is empty; expected alpha: path, for every alpha")
        if isinstance(self.logs, Mapping) and len(self.candidates) < len(self.logs):
            raise AdammsError("engine.logs names an alpha twice: " + ", ".join(map(str, self.places)))

    @cached_property
    def places(self) -> Mapping[str, Place]:
        """Alpha, as it was written -> where its logs are."""
        return self.logs if isinstance(self.logs, Mapping) else self._below.alphas

    @cached_property
    def other_places(self) -> Mapping[str, Place]:
        """Name of another model -> where its logs are."""
        return self.others if isinstance(self.logs, Mapping) else {**self._below.others, **self.others}

    @cached_property
    def _below(self) -> FoundModels:
        return find_models(Path(str(self.logs)).expanduser())

    @property
    def candidates(self) -> list[Candidate]:
        """In increasing order."""
        return sorted({_candidate(key) for key in self.places})

    def read(self) -> Replayed:
        """Read all logs and keep what they have in common.

        Raises:
            AdammsError: a file that cannot be read, or logs that have no task or example in common.
        """
        said: list[str] = []
        logs = {_candidate(key): self._read(value, said) for key, value in self.places.items()}
        logs = {candidate: logs[candidate] for candidate in self.candidates}
        if all(isinstance(place, str) and Path(place).is_file() for place in self.places.values()):
            # One file for every alpha is one task, whatever the files are called.
            names = {task for own in logs.values() for task in own}
            if len(names) > 1:
                said.append(
                    f"the logs are named after {', '.join(sorted(names))}; they are taken for one task"
                )
            name = names.pop() if len(names) == 1 else UNNAMED
            logs = {candidate: {name: next(iter(own.values()))} for candidate, own in logs.items()}
        everywhere = [task for task in next(iter(logs.values())) if all(task in own for own in logs.values())]
        if not everywhere:
            found = "; ".join(f"alpha {candidate}: {', '.join(own)}" for candidate, own in logs.items())
            raise AdammsError(f"engine.logs: no task is in the logs of every alpha ({found})")
        some = dict.fromkeys(task for own in logs.values() for task in own if task not in everywhere)
        notes = [f"left out, not in the logs of every alpha: the tasks {', '.join(some)}"] if some else []
        tasks: dict[str, list[str]] = {}
        doubts: dict[str, list[str]] = {}
        answers: dict[Candidate, dict[str, Answer]] = {candidate: {} for candidate in logs}
        for task in everywhere:
            chosen = {candidate: own[task] for candidate, own in logs.items()}
            records, aligned = self._align(task, chosen)
            notes.append(aligned)
            doubts[task] = _same_files(chosen)
            lettered = _lettered(task, records)
            tasks[task] = [f"{task}/{key}" for key in next(iter(records.values()))]
            filtered = any(fnmatchcase(task, pattern) for pattern in self.filtered)
            for candidate, own in records.items():
                for key, record in own.items():
                    text = record.filtered if filtered else record.raw
                    answers[candidate][f"{task}/{key}"] = Answer(record.letter if lettered else text)
        notes += dict.fromkeys(said)
        files = {candidate: {task: own[task].file for task in everywhere} for candidate, own in logs.items()}
        return Replayed(answers, tasks, notes, doubts, files, self._read_others(everywhere, notes))

    def _read_others(self, tasks: Sequence[str], notes: list[str]) -> dict[str, dict[str, Path]]:
        """Name -> task -> log of the other models; `notes` gains a sentence for each."""
        found = {}
        for name, place in self.other_places.items():
            logs = self._read(place, [])
            found[name] = {task: logs[task].file for task in tasks if task in logs}
            lacks = [task for task in tasks if task not in logs]
            without = f", without {', '.join(lacks)}" if lacks else ""
            notes.append(f"{name}: {place}: another model, which is not searched{without}")
        if isinstance(self.logs, str) and self._below.without:
            notes.append(
                f"{self.logs}: left out, neither *{SAMPLES}<task>.jsonl nor <task>.json beside "
                f"{OLD_RESULTS} in them: {', '.join(self._below.without)}"
            )
        return found

    def _read(self, place: str | Mapping[str, str], said: list[str]) -> dict[str, Log]:
        """Task -> log, of one alpha; what there is to say of the files is added to `said`."""
        if isinstance(place, Mapping):
            logs = {task: read_log(Path(file).expanduser(), self.format) for task, file in place.items()}
        else:
            found = find_logs(Path(place).expanduser())
            said += found.notes
            logs = {log.task or UNNAMED: log for log in (read_log(file, self.format) for file in found.files)}
        said += [note for log in logs.values() for note in log.notes]
        return logs

    def _align(
        self, task: str, logs: Mapping[Candidate, Log]
    ) -> tuple[dict[Candidate, dict[str, Record]], str]:
        """The records that all logs of a task have, by the same keys in the same order; and a note."""
        wanted = self.only.get(task)
        kept = {
            c: [r for r in log.records if wanted is None or r.fields & set(wanted)] for c, log in logs.items()
        }
        by_content = self._by_content(task, kept)
        keyed = {c: _keyed(records, by_content) for c, records in kept.items()}
        first, *others = keyed.values()
        shared = [key for key in first if all(key in other for other in others)]
        if not shared:
            raise AdammsError(
                f"engine.logs: {task}: no example is in the logs of every alpha "
                f"({', '.join(f'{c}: {len(own)} examples' for c, own in keyed.items())})"
            )
        said = [f"{task}: {len(shared)} examples, aligned by {'content' if by_content else 'number'}"]
        dropped = {
            f"without {' or '.join(wanted or ())}": {c: len(logs[c].records) - len(kept[c]) for c in logs},
            "logged more than once (the first counts)": {c: len(kept[c]) - len(keyed[c]) for c in logs},
            "not in every log": {c: len(keyed[c]) - len(shared) for c in logs},
        }
        said += [f"left out, {why}: {_counts(n)}" for why, n in dropped.items() if any(n.values())]
        aligned = {c: {key: own[key] for key in shared} for c, own in keyed.items()}
        if other := _other_questions(list(aligned.values())):
            said.append(
                f"{other} of them have another question in another log: are these logs of one dataset?"
            )
        return aligned, "; ".join(said)

    def _by_content(self, task: str, records: Mapping[Candidate, Sequence[Record]]) -> bool:
        contents = [{record.content for record in own} for own in records.values()]
        complete = all("" not in own for own in contents)
        numbered = all(record.number for own in records.values() for record in own)
        if self.align == "content" and not complete:
            raise AdammsError(f"engine.align=content, but {task} has records without doc_hash")
        if self.align == "number" and not numbered:
            raise AdammsError(f"engine.align=number, but {task} has records without doc_id")
        if self.align != "auto":
            return self.align == "content"
        return complete and (not numbered or bool(set.intersection(*contents)))


def _candidate(key: str) -> Candidate:
    try:
        return Candidate(float(key))
    except ValueError as error:
        raise AdammsError(f"engine.logs has {key!r} for an alpha; expected a number in [0, 1]") from error


def _keyed(records: Sequence[Record], by_content: bool) -> dict[str, Record]:
    """Key -> record, the first of those that were logged more than once.

    Examples of the same content but different numbers stay apart: the data set has them twice.
    """
    numbers: dict[str, set[str]] = {}
    for record in records:
        numbers.setdefault(record.content, set()).add(record.number)
    order = {content: sorted(own, key=lambda n: (len(n), n)) for content, own in numbers.items()}
    keyed: dict[str, Record] = {}
    for record in records:
        key = record.number
        if by_content:
            place = order[record.content].index(record.number)
            key = f"{record.content}#{place}" if place else record.content
        keyed.setdefault(key, record)
    return keyed


def _lettered(task: str, records: Mapping[Candidate, Mapping[str, Record]]) -> bool:
    """Whether options are known by their letters alone: in any log, so that all of them are comparable.

    Raises:
        AdammsError: some logs have texts and others log-likelihoods.
    """
    chosen = {c: all(record.letter for record in own.values()) for c, own in records.items()}
    if len(set(chosen.values())) > 1:
        texts = ", ".join(str(c) for c, options in chosen.items() if not options)
        raise AdammsError(
            f"engine.logs: {task}: the logs of alpha {texts} have texts, the others log-likelihoods of "
            f"options; evaluate all with the same task"
        )
    return any(
        record.letter and record.raw == record.letter for own in records.values() for record in own.values()
    )


def _other_questions(logs: Sequence[Mapping[str, Record]]) -> int:
    """How many examples were not asked the same in all logs, as far as they say what was asked."""
    return sum(len({own[key].question for own in logs} - {""}) > 1 for key in logs[0])


def _same_files(logs: Mapping[Candidate, Log]) -> list[str]:
    """A sentence for every log that several alphas have."""
    alike: dict[str, list[str]] = {}
    for candidate, log in logs.items():
        alike.setdefault(log.digest, []).append(str(candidate))
    return [
        f"The alphas {', '.join(alphas)} have the same log, byte for byte: was it given twice?"
        for alphas in alike.values()
        if len(alphas) > 1
    ]


def _counts(numbers: Mapping[Candidate, int]) -> str:
    """The one number, or those of every alpha that has any."""
    if len(set(numbers.values())) == 1:
        return f"{next(iter(numbers.values()))} in every log"
    return ", ".join(f"{number} at alpha {c}" for c, number in numbers.items() if number)

"""Log files of other evaluation tools, read into records. Owns the formats, aligns nothing.

lmms-eval 0.7 and later   <time>_samples_<task>.jsonl, an object per line
lmms-eval before that     <task>.json, {"args", "model_configs", "logs": [object, ...]}
VLMEvalKit                <model>_<dataset>.xlsx | .tsv | .json with the columns index and prediction
"""

import json
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from adamms.engines.answer import first, normalised
from adamms.engines.logs.folder import PICKLES, task_of
from adamms.engines.logs.options import letter, likelihoods, lowest_is_best, texts
from adamms.engines.logs.table_rows import table_rows
from adamms.errors import AdammsError

LMMS_EVAL, VLMEVALKIT = "lmms_eval", "vlmevalkit"
# lmms-eval 0.7's hash of every example whose content it has dropped already.
HASH_OF_NOTHING = sha256(b"null").hexdigest()


@dataclass(frozen=True)
class Record:
    """One logged answer.

    Args:
        number: the example's number in its data set: lmms-eval's doc_id, VLMEvalKit's index.
        content: a digest of the example, such as lmms-eval's doc_hash; "" where the log has none, or one that
            all examples share.
        raw: the answer as the model gave it; of log-likelihoods the best option's text or letter.
        filtered: the answer after the tool's own filters; `raw` where there is no other.
        letter: of the best option; "" where the model gave a text.
        given: how many answers the example has.
        question: as it was put to the model; "" where the log has none.
        fields: names of everything else that was logged.
    """

    number: str
    content: str
    raw: str
    filtered: str
    letter: str = ""
    given: int = 1
    question: str = field(default="", repr=False)
    fields: frozenset[str] = field(default=frozenset(), repr=False)


@dataclass(frozen=True)
class Log:
    """What one file holds.

    Args:
        task: from the file's name where the tool writes it there, else "".
        records: in the file's order.
        file: which it is.
        notes: sentences: what is not as it seems.
        digest: of the file's bytes.
    """

    task: str
    records: Sequence[Record]
    file: Path
    notes: Sequence[str] = ()
    digest: str = ""


def read_log(path: Path, form: str) -> Log:
    """Read one file.

    Args:
        path: the file.
        form: LMMS_EVAL or VLMEVALKIT for that tool's logs only. `auto` tells them apart by the suffix, JSON
            by its content.

    Raises:
        AdammsError: a pickle, no such file, another format, or a bad record, named by its number.
    """
    if path.suffix in PICKLES:
        raise AdammsError(
            f"{path}: pickles are not read, because reading one runs whatever code is in it; let VLMEvalKit "
            f"write xlsx, tsv or json (PRED_FORMAT)"
        )
    if not path.is_file():
        raise AdammsError(f"engine.logs: {path}: no such file")
    try:
        if path.suffix == ".jsonl":
            found, rows = LMMS_EVAL, list(_json_lines(path))
        elif path.suffix in (".xlsx", ".tsv"):
            found, rows = VLMEVALKIT, list(table_rows(path))
        elif path.suffix == ".json":
            found, rows = _json(path)
        else:
            raise AdammsError(f"{path}: unknown kind of log; expected .jsonl, .json, .xlsx or .tsv")
    except (OSError, ValueError, RecursionError) as error:
        raise AdammsError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error
    if form not in ("auto", found):
        raise AdammsError(f"{path}: engine.format={form}, but this is a log of {found}")
    make = _lmms_eval_record if found == LMMS_EVAL else _vlmevalkit_record
    records, preferred = [], []
    for number, row in enumerate(rows, start=1):
        try:
            records.append(make(row))
            preferred.append(_likelihoods(row))
        except AdammsError as error:
            raise AdammsError(f"{path}: record {number}: {error}") from error
    if not records:
        raise AdammsError(f"{path}: holds no records")
    task, notes = task_of(path) if found == LMMS_EVAL else "", []
    if any(values is not None for values in preferred):
        records, said = _by_options(path, rows, records, preferred)
        notes.append(said)
    if repeated := sum(record.given > 1 for record in records):
        most = max(record.given for record in records)
        notes.append(f"{path}: {repeated} examples have up to {most} answers each; the first counts")
    if absent := sum(not record.raw for record in records):
        notes.append(f"{path}: {absent} of {len(records)} answers are empty, or were not given")
    with path.open("rb") as content:
        return Log(task, records, path, notes, file_digest(content, "sha256").hexdigest())


def _likelihoods(row: Any) -> list[float] | None:
    """Those of the options of a record of lmms-eval's; None where it has texts."""
    if "acc_mutual_info" in row:
        raise AdammsError("log-likelihoods relative to those without the question are not read")
    return likelihoods(row.get("resps", row.get("filtered_resps")))


def _by_options(
    path: Path, rows: Sequence[Any], records: Sequence[Record], preferred: Sequence[list[float] | None]
) -> tuple[list[Record], str]:
    """The records with the best options as their answers, and a sentence that says so."""
    if None in preferred:
        raise AdammsError(f"{path}: record {preferred.index(None) + 1}: a text among log-likelihoods")
    values = [own for own in preferred if own is not None]
    try:
        lowest = lowest_is_best(values)
    except AdammsError as error:
        raise AdammsError(f"{path}: {error}") from error
    found = []
    for row, record, own in zip(rows, records, values, strict=True):
        best = own.index(min(own) if lowest else max(own))
        said = [*texts(row, len(own)), *map(letter, range(len(own)))][best]
        found.append(replace(record, raw=said, filtered=said, letter=letter(best), given=1))
    kind = "lowest loss" if lowest else "highest log-likelihood"
    return found, f"{task_of(path)}: the answers are the options of the {kind}"


def _json_lines(path: Path) -> Iterator[Any]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            text = line.removeprefix(BOM_UTF8) if number == 1 else line
            if text.strip():
                try:
                    yield json.loads(text)
                except ValueError as error:
                    if line.endswith(b"\n"):
                        raise ValueError(f"line {number} is not JSON: {error}") from error
                    raise AdammsError(
                        f"{path}: line {number} is not JSON: it is the last, and cut off. Evaluate again, or "
                        f"remove it to go on with the {number - 1} lines before it"
                    ) from error


def _json(path: Path) -> tuple[str, list[Any]]:
    content = json.loads(path.read_text(encoding="utf-8-sig"))
    if isinstance(content, list):
        return VLMEVALKIT, content
    if isinstance(content, dict) and isinstance(content.get("logs"), list):
        return LMMS_EVAL, content["logs"]
    raise AdammsError(f"{path}: neither lmms-eval's {{\"logs\": [...]}} nor a list of VLMEvalKit's records")


def _lmms_eval_record(row: Any) -> Record:
    """lmms-eval leaves `resps` out where it says the same as `filtered_resps`.

    Of several answers the first counts, as in the authors' scripts.
    """
    if not isinstance(row, dict) or not ("resps" in row or "filtered_resps" in row):
        raise AdammsError("expected an object with resps or filtered_resps")
    if "doc_id" not in row and "doc_hash" not in row:
        raise AdammsError("expected an object with doc_hash or doc_id")
    content, question = _text(row.get("doc_hash")), row.get("input")
    return Record(
        number=_text(row.get("doc_id")),
        content="" if content == HASH_OF_NOTHING else content,
        given=max(1, *(_count(row[name]) for name in ("resps", "filtered_resps") if name in row)),
        raw=_text(first(row.get("resps", row.get("filtered_resps")))),
        filtered=_text(first(row.get("filtered_resps", row.get("resps")))),
        question=normalised(question) if isinstance(question, str) else "",
        fields=frozenset(map(str, row)),
    )


def _vlmevalkit_record(row: Any) -> Record:
    if not isinstance(row, Mapping) or "index" not in row or "prediction" not in row:
        columns = ", ".join(map(str, row)) if isinstance(row, Mapping) else type(row).__name__
        raise AdammsError(f"expected the columns index and prediction; found {columns[:200]}")
    number = _text(row["index"])
    if not number:
        raise AdammsError("the index is empty")
    prediction = _text(row["prediction"])
    question = normalised(_text(row.get("question")))
    return Record(number, content="", raw=prediction, filtered=prediction, question=question)


def _count(logged: Any) -> int:
    """How many answers a tool logged, in whatever nest."""
    return sum(map(_count, logged)) if isinstance(logged, list) else 1


def _text(value: Any) -> str:
    """A cell or JSON value as text: whole numbers look the same whatever their type; nothing is ""."""
    if value is None or value != value:  # NaN is what pandas makes of an empty cell
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)

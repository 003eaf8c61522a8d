"""A run's id, a digest of what it does, and the names by which people find it.

Knows the resolved configuration as plain data. Knows no tracker.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from adamms.report.trackers.tracker import Job
from adamms.report.words import endings, unrounded

# Settings that change no result: where files go, who is told, how much is said.
APART = ("output", "cache", "store", "track", "verbose")
# Groups that name inputs: the content of the files and folders in them is part of the id.
INPUTS = ("model", "model_folder", "data", "engine")
SAMPLES, SAMPLE_BYTES = 16, 1 << 16
ID_DIGITS = 24
LONGEST_TAG = 64
LONGEST_NAME = 128


def run_id(settings: Mapping[str, Any]) -> str:
    """The same for the same experiment, wherever its results go; another one for every other.

    A digest of the whole resolved configuration but `APART` (paths below `cache` count from there), and of
    the files and folders that it names as inputs: another data file of the same name is another experiment.

    Returns:
        24 hexadecimal digits.
    """
    cache = str(settings.get("cache") or "")
    told = {key: value for key, value in settings.items() if key not in APART}
    inputs = [told[key] for key in INPUTS if key in told]
    places = sorted({text for text in _texts(inputs) if _is_input(text, cache)})
    output = Path(str(settings.get("output") or os.devnull)).absolute()
    contents = [[place, _content(Path(place).expanduser().absolute(), output)] for place in places]
    content = [_canonical(told, cache), contents]
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:ID_DIGITS]


def _canonical(value: Any, cache: str) -> Any:
    """Plain data that is equal exactly where values, and types of values and keys, are."""
    if isinstance(value, Mapping):
        items = [[type(key).__name__, str(key), _canonical(inner, cache)] for key, inner in value.items()]
        return ["mapping", sorted(items, key=lambda item: (item[0], item[1]))]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ["list", [_canonical(inner, cache) for inner in value]]
    if isinstance(value, str) and _below(value, cache):
        return ["cached", os.path.relpath(value, cache)]
    return value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | Sequence):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner)


def _below(text: str, folder: str) -> bool:
    return bool(folder) and (text == folder or text.startswith(folder.rstrip(os.sep) + os.sep))


def _is_input(text: str, cache: str) -> bool:
    """Whether it names something on this machine that the run does not make itself."""
    return bool(text) and not _below(text, cache) and os.path.exists(os.path.expanduser(text))  # noqa: PTH110, PTH111


def _content(path: Path, output: Path) -> str:
    """A digest of a file's, or of all a folder's files', names, sizes and samples of bytes.

    Of a folder that the results go into, too, the part with the results is left out.
    """
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    if output.is_relative_to(path):
        results = path.joinpath(*output.relative_to(path).parts[:1])
        files = [file for file in files if not file.is_relative_to(results)]
    digest = hashlib.sha256()
    for file in sorted(files):
        size = file.stat().st_size
        digest.update(f"{file.relative_to(path).as_posix()}\0{size}\0".encode())
        with file.open("rb") as stream:
            for start in _starts(size):
                stream.seek(start)
                digest.update(stream.read(SAMPLE_BYTES))
    return digest.hexdigest()


def _starts(size: int) -> list[int]:
    """Where to read: everywhere in a file up to 1 MiB, else at 16 places from its first to its last byte."""
    if size <= SAMPLES * SAMPLE_BYTES:
        return list(range(0, size, SAMPLE_BYTES))
    return [(size - SAMPLE_BYTES) * index // (SAMPLES - 1) for index in range(SAMPLES)]


def pair(settings: Mapping[str, Any], job: Job) -> str:
    """The models in words: the option of `model`, or 'a + b into t' of a custom one; "" without models."""
    if job.pair is not None:
        return job.pair
    option = job.choices.get("model", "custom")
    if job.choices.get("engine") == "replay":
        return ""
    if option != "custom":
        return option
    models = settings.get("model") or {}
    donors = [_name(donor) for donor in (models.get("donors") or {}).values()]
    target = _name(models.get("target"))
    return f"{' + '.join(name for name in donors if name)} into {target}" if target else ""


def _name(source: Any) -> str:
    """The last part of a model's path or hub id."""
    path = source.get("path") if isinstance(source, Mapping) else None
    return str(path or "").rstrip("/").rpartition("/")[2]


def tags(settings: Mapping[str, Any], job: Job) -> tuple[str, ...]:
    """Pair, method and engine, each at most as long as W&B takes (64 characters)."""
    words = (pair(settings, job), _method(job), job.choices.get("engine", ""))
    return tuple(dict.fromkeys(shortened(word, LONGEST_TAG) for word in words if word))


def _method(job: Job) -> str:
    return "" if job.choices.get("engine") == "replay" else job.choices.get("merge", "")


def group(settings: Mapping[str, Any], job: Job) -> str | None:
    """What a run's siblings share: the multirun's folder, or else the experiment, or else the pair."""
    if job.sweep is not None:
        return shortened("/".join(Path(job.sweep).parts[-2:]), LONGEST_NAME)
    experiment = job.choices.get("experiment", "custom")
    name = experiment if experiment != "custom" else pair(settings, job)
    return shortened(name, LONGEST_NAME) or None


def name(settings: Mapping[str, Any], job: Job) -> str | None:
    """For people: what varies in the multirun; of a run on its own the pair, the method and what was typed.

    What varies is an option's name, `ties`, or as much of a key's end as tells it from the others, with
    its value, `rule=sum`. A model that the run is given is known by its method and alpha, or by its name.
    """
    said = ("model", "merge=", "mode=", "track", "output=", "cache=", "store=", "hydra", "experiment=")
    first = ("merge", "search", "mapper")  # what variants differ in, before a long name is cut
    if job.varying:
        given = {"merge.alpha"} if job.pair else set()
        shown = (given | set(job.varying)) - {"model_folder"}
        short = endings(shown)
        typed = [(_key(item), item.partition("=")[2]) for item in job.overrides if _key(item) in shown]
        words = [value if key in job.choices else f"{short[key]}={value}" for key, value in typed]
        words = [*([_method(job) or job.pair] if job.pair else []), *words]
    else:
        rest = [item for item in job.overrides if not item.lstrip("+~").startswith(said)]
        rest.sort(key=lambda item: not _key(item).startswith(first))
        words = [pair(settings, job), _method(job), *rest]
    return shortened(unrounded(" ".join(filter(None, words))), LONGEST_NAME) or None


def _key(override: str) -> str:
    """Of '+merge.density=0.2' merge.density."""
    return override.lstrip("+~").partition("=")[0]


def shortened(text: str, longest: int) -> str:
    """At most `longest` characters; what was longer ends in a digest, so that it stays apart from others."""
    text = re.sub(r"\s+", " ", text).strip()
    if len(text) <= longest:
        return text
    return f"{text[: longest - 9]}~{hashlib.sha256(text.encode()).hexdigest()[:8]}"

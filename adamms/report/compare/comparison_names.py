"""Names for the models of a comparison: what varies among them, in as few words as tell them apart."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from adamms.report.compare.comparison import Row, typed, varying
from adamms.report.words import endings, unrounded

DEFAULT = "default"  # of a setting that a run leaves as it is
LONGEST = 60  # letters of a name that says all that varies; else the run's folder is in it


def named(rows: Sequence[Row]) -> list[Row]:
    """Rows by the names of their models, the same for all rows of one model; parents keep theirs."""
    first = {_subject(row): row for row in reversed(rows) if not row.parent}
    models = list(reversed(first.values()))
    own = [typed(row.made) if row.made else {} for row in models]
    keys = varying(own)
    several = [key for key in keys if len({settings[key] for settings in own if key in settings}) > 1]
    short = [_typed(settings, several) or _plain(row) for settings, row in zip(own, models, strict=True)]
    merged = (f"{row.method} {row.shares}" for row in models)
    ways = [
        short,
        [f"{name} {own}".strip() for name, own in zip(short, merged, strict=True)],
        [_typed(settings, keys, default=True) for settings in own],
        [
            name if name and short.count(name) == 1 else f"{name} {row.run.place}".strip()
            for name, row in zip(short, models, strict=True)
        ],
    ]
    if max(map(len, ways[2]), default=0) > LONGEST:
        del ways[2]
    names = next((way for way in ways if len(set(way)) == len(way) and all(way)), ways[-1])
    found = {_subject(row): name for row, name in zip(models, names, strict=True)}
    return [row if row.parent else replace(row, name=found[_subject(row)]) for row in rows]


def told_apart(rows: Sequence[Row]) -> list[Row]:
    """Rows of one name with what was typed for their evaluations, too, or with where these are."""
    names = [row.name for row in rows]
    alike = [row for row in rows if names.count(row.name) > 1]
    settings = {id(row): typed(row.scored) if row.scored else {} for row in alike}
    keys = varying(list(settings.values()))
    made = []
    for row in rows:
        name, others = row.name, [other for other in alike if other.name == row.name]
        if len(others) > 1 and row.scored is not None:
            ways = [
                [_typed(settings[id(each)], keys) for each in others],
                [each.scored.place for each in others if each.scored],
            ]
            way = next((way for way in ways if len(set(way)) == len(way)), ways[-1])
            name += f" ({way[[id(each) for each in others].index(id(row))]})"
        made.append(replace(row, name=name))
    return made


def _subject(row: Row) -> object:
    """The same of all rows of one model."""
    return row.run.output if row.made else (row.run.found.evaluated, row.fingerprint)


def _plain(row: Row) -> str:
    """A model of which nothing was typed that varies: by its merge, or else by its folder."""
    if row.method:
        return f"{row.method} {row.shares}".strip()
    place = row.run.found.evaluated or row.run.output
    return "/".join(place.parts[-2:] if place.name == "model" else place.parts[-1:])


def _typed(settings: Mapping[str, str], keys: Sequence[str], default: bool = False) -> str:
    """The values of these keys; with `default` also where nothing was typed."""
    names = endings(keys)
    return " ".join(
        _setting(key, names[key], settings.get(key)) for key in keys if default or key in settings
    )


def _setting(key: str, name: str, value: str | None) -> str:
    """'ties' of an option; 'rule=sum' of another setting."""
    if value is None:
        return f"{DEFAULT} {name}"
    return unrounded(value if "." not in key else f"{name}={value}")

"""Rows of parquet files and of Hugging Face datasets' folders, read by the package `datasets`.

Nothing is downloaded, decoded or copied: pictures come as they lie in the file. Knows no field.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from adamms.errors import AdammsError, cause, install, nearest

PARQUET = ".parquet"
ROWS = 32  # that are in memory together
SAVED = ("dataset_info.json", "dataset_dict.json")  # what `save_to_disk` leaves in a folder


def table_rows(path: Path, split: str | None) -> Iterator[Mapping[str, Any]]:
    """The rows of a parquet file, of a folder of such, or of one that `save_to_disk` has written.

    Args:
        split: which of several; None where there is one.

    Raises:
        AdammsError: the extra is missing, `datasets` cannot read it, or there is no such split.
    """
    try:
        import datasets
    except ImportError as error:
        raise AdammsError(
            f"{path}: parquet and datasets' folders need the extra `datasets`: {install('datasets')}"
        ) from error
    try:
        if any((path / name).is_file() for name in SAVED):
            found: Any = datasets.load_from_disk(str(path))
        elif path.is_dir():
            found = datasets.load_dataset(str(path), streaming=True)
        else:
            found = datasets.load_dataset("parquet", data_files=str(path), streaming=True)
        chosen = found if isinstance(found, datasets.Dataset) else _chosen(found, split, path)
        yield from _plain(chosen, datasets.ClassLabel)
    except AdammsError:
        raise
    except Exception as error:  # readers of damaged files raise many kinds
        raise AdammsError(f"{path}: datasets cannot read it ({cause(error)})") from error


def _chosen(splits: Mapping[str, Any], split: str | None, path: Path) -> Any:
    """The one split that is asked for, or that there is."""
    if split is None and len(splits) == 1:
        return next(iter(splits.values()))
    if split is None or split not in splits:
        named = "data.split is not given" if split is None else f"data.split is {split!r}"
        raise AdammsError(
            f"{path}: {named}; expected one of: {', '.join(splits)}.{nearest(split or '', splits)}"
        )
    return splits[split]


def _plain(found: Any, class_label: Any) -> Iterator[Mapping[str, Any]]:
    """The rows as Arrow has them: a picture is {"bytes", "path"}; a class has its name."""
    labels = {name: f for name, f in (found.features or {}).items() if isinstance(f, class_label)}
    for batch in found.with_format("arrow").iter(batch_size=ROWS):
        for values in batch.to_pylist():
            named = {name: labels[name].int2str(values[name]) for name in labels if values[name] is not None}
            yield values | named

"""Rows of parquet files and of Hugging Face datasets' folders, read by the package `datasets`.

Nothing is downloaded, decoded or copied: pictures come as they lie in the file. Knows no field.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from adamms.errors import AdammsError, cause, install, nearest, shortened

PARQUET = ".parquet"
STANDALONE = ".huggingface.yaml"  # says what the beginning of README.md says, and counts instead
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
            _check_card(path)
            found = datasets.load_dataset(str(path.absolute()), streaming=True)  # it names no folder "."
        else:
            found = datasets.load_dataset("parquet", data_files=str(path), streaming=True)
        if not isinstance(found, datasets.Dataset):
            found = _chosen(found, split, path)
        elif split not in (None, str(found.split)):
            there = "no splits" if found.split is None else f"only the split {str(found.split)!r}"
            raise AdammsError(f"{path}: data.split is {split!r}; it has {there}. data.split=null takes all")
        yield from _plain(found, datasets.ClassLabel)
    except AdammsError:
        raise
    except Exception as error:  # readers of damaged files raise many kinds
        raise AdammsError(f"{path}: datasets cannot read it ({cause(error)})") from error


def _check_card(folder: Path) -> None:
    """Raise AdammsError where a folder's card names files that lie elsewhere, or leaves several choices."""
    import yaml
    from huggingface_hub import metadata_load

    card: dict[str, Any] = {}
    if (folder / "README.md").is_file():
        card |= metadata_load(folder / "README.md") or {}
    if (folder / STANDALONE).is_file():
        card |= yaml.safe_load((folder / STANDALONE).read_text(encoding="utf-8")) or {}
    configs = {each.get("config_name", "default"): each for each in card.get("configs") or ()}
    for name, each in configs.items():
        if "://" in (files := json.dumps(each)):
            raise AdammsError(
                f"{folder}: its configuration {name!r} takes data from elsewhere: {shortened(files)}. "
                f"Download them, and give data.path their folder"
            )
    if len(configs) > 1 and "default" not in configs and not any(c.get("default") for c in configs.values()):
        given = {name: each.get("data_files", each.get("data_dir")) for name, each in configs.items()}
        shown = "; ".join(f"{name}: {shortened(json.dumps(each))}" for name, each in given.items())
        raise AdammsError(
            f"{folder}: has several configurations; expected the folder or the parquet file of one as "
            f"data.path: {shown}"
        )


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
            numbers = {name: values[name] for name in labels if values[name] is not None}
            # Published test splits have -1 where the label is kept back.
            yield values | {n: labels[n].int2str(k) if k >= 0 else None for n, k in numbers.items()}

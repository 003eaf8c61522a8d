"""Where a checkpoint is: a local folder as it is, or a hub id, of which what is needed is downloaded.

Downloads go to the hub's own cache; which files are needed is in `repository`. Knows nothing of contents.
"""

import re
from pathlib import Path

from adamms.checkpoint.hub.repository import (
    Repository,
    Unreachable,
    cached_folder,
    list_repository,
    missing_weights,
)
from adamms.errors import AdammsError, no_such_path

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def locate(path: str, revision: str | None = None, weights: bool = True) -> Path:
    """The local folder of the checkpoint `path`.

    Args:
        path: a local folder or weight file, or a hub id `owner/name`.
        revision: branch, tag or commit of the hub repository.
        weights: whether a download takes the weights too; a tokenizer is wanted without them.

    Raises:
        AdammsError: neither exists, a revision is given for a local folder, the disk is too small, or the hub
            cannot be reached and its cache has not all.
    """
    if (local := _local(path, revision)) is not None:
        return local
    try:
        return list_repository(path, revision).download(weights)
    except Unreachable as error:
        folder = cached_folder(path, revision)
        if folder is None:
            raise AdammsError(f"{error}") from error
        if weights and (missing := missing_weights(folder)):
            raise AdammsError(
                f"{error}, and its cache lacks {', '.join(missing[:5])}{', ...' * (len(missing) > 5)} of it "
                f"({folder}). Where the hub can be reached: hf download {path}"
            ) from error
        return folder


def cached(path: str, revision: str | None = None) -> Path | None:
    """As `locate`, without downloading: None for a hub id whose weights are not in the hub's cache."""
    if (local := _local(path, revision)) is not None:
        return local
    folder = cached_folder(path, revision)
    return None if folder is None or missing_weights(folder) else folder


def not_here(path: str, revision: str | None = None) -> Repository | None:
    """The hub's repository `path` if its weights would have to be downloaded and the hub can be reached."""
    if Path(path).expanduser().exists() or not HUB_ID.fullmatch(path) or cached(path, revision) is not None:
        return None
    try:
        return list_repository(path, revision)
    except Unreachable:
        return None


def _local(path: str, revision: str | None) -> Path | None:
    """The local folder or file `path`; None for a hub id."""
    local = Path(path).expanduser()
    if local.exists():
        if revision is not None:
            raise AdammsError(f"{path} is a local folder; revision={revision!r} belongs to hub ids only")
        # The hub's cache links files to blobs without names: the link is the file, its folder the model's.
        return local.resolve() if local.is_dir() else local.parent.resolve() / local.name
    if not HUB_ID.fullmatch(path):
        raise no_such_path(local)
    return None

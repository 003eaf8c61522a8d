"""Where a checkpoint is: a local folder as it is, or a hub id, downloaded to the hub's own cache.

Knows nothing of the contents.
"""

import re
from pathlib import Path

from adamms.errors import AdammsError, no_such_path

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.py", "*.tiktoken", "LICENSE*")
_TORCH_PATTERNS = ("*.bin", "*.pth")


def locate(path: str, revision: str | None = None, weights: bool = True) -> Path:
    """The local folder of the checkpoint `path`.

    Args:
        path: a local folder or weight file, or a hub id `owner/name`.
        revision: branch, tag or commit of the hub repository.
        weights: whether a download takes the weights too; a tokenizer is wanted without them.

    Raises:
        AdammsError: neither exists, or a revision is given for a local folder.
    """
    local = Path(path).expanduser()
    if local.exists():
        if revision is not None:
            raise AdammsError(f"{path} is a local folder; revision={revision!r} belongs to hub ids only")
        # The hub's cache links files to blobs without names: the link is the file, its folder the model's.
        return local.resolve() if local.is_dir() else local.parent.resolve() / local.name
    if not HUB_ID.fullmatch(path):
        raise no_such_path(local)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        patterns = [pattern for pattern in _PATTERNS if weights or pattern != "*.safetensors"]
        folder = Path(snapshot_download(path, revision=revision, allow_patterns=patterns))
        if weights and not any(folder.glob("*.safetensors")):
            patterns = [*_PATTERNS, *_TORCH_PATTERNS]
            folder = Path(snapshot_download(path, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        at = f" at revision {revision}" if revision else ""
        raise AdammsError(
            f"{path}{at}: no such local folder, and the hub did not give it "
            f"({type(error).__name__}: {str(error).splitlines()[0][:160]})"
        ) from error
    return folder


def cached(path: str, revision: str | None = None) -> Path | None:
    """As `locate`, without downloading: None for a hub id that is not in the hub's cache."""
    if Path(path).expanduser().exists() or not HUB_ID.fullmatch(path):
        return locate(path, revision)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(path, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return None

"""mode=push: a merged folder to the hub, checked before anything is sent.

Like `pipeline`, above the layers: it knows the configuration.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from adamms.app.output import RECORD
from adamms.checkpoint.reader import open_checkpoint
from adamms.errors import AdammsError
from adamms.report.console import Console
from adamms.report.result import Result

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Push:
    """What is to be sent, and where to.

    Args:
        folder: a merged model, as a run leaves it.
        repo: `owner/name` on the hub; made if it is not there.
        private: who may see it, when it is made.
        dry_run: say what would be sent, and send nothing.
        message: of the commit.
    """

    folder: Path
    repo: str
    private: bool = True
    dry_run: bool = False
    message: str = "Merged with adamms"


def push(config: DictConfig, console: Console) -> Result:
    """Send OUT/model with its card to the hub; with mode.dry_run=true only say what would be sent."""
    wanted = _wanted(config)
    files = _checked(wanted)
    for file in files:
        console.say(f"{file.stat().st_size / 1e6:12.3f} MB  {file.relative_to(wanted.folder)}")
    total = sum(file.stat().st_size for file in files)
    where = f"{wanted.repo} ({'private' if wanted.private else 'public'})"
    if wanted.dry_run:
        console.say(f"dry run: {len(files)} files, {total / 1e9:.3f} GB would go to {where}")
    else:
        with console.stage("upload", total, "bytes") as advance:
            url = _send(wanted)
            advance(total)
        console.say(f"{len(files)} files, {total / 1e9:.3f} GB are at {url}")
    return Result(title=f"push to {wanted.repo}", folder=wanted.folder, timings=console.timings)


def _wanted(config: DictConfig) -> Push:
    for key, example in (("folder", "OUT/model"), ("repo", "owner/name")):
        if OmegaConf.is_missing(config.mode, key):
            raise AdammsError(f"mode.{key} has no value; give it as mode.{key}={example}")
    node = config.mode
    return Push(
        Path(str(node.folder)).expanduser(),
        str(node.repo),
        bool(node.private),
        bool(node.dry_run),
        str(node.message),
    )


def _checked(wanted: Push) -> list[Path]:
    """The files to send, in order.

    Raises:
        AdammsError: a name that is none, a folder that no run has written whole, or no model card.
    """
    if not _HUB_ID.fullmatch(wanted.repo):
        raise AdammsError(f"mode.repo is {wanted.repo!r}; expected owner/name")
    if not (wanted.folder / RECORD).is_file():
        inside = wanted.folder / "model"
        hint = f" Did you mean {inside}?" if (inside / RECORD).is_file() else ""
        raise AdammsError(f"mode.folder: {wanted.folder} has no {RECORD}: it is no merged model.{hint}")
    open_checkpoint(wanted.folder)  # every shard is there, and whole
    if not (wanted.folder / "README.md").is_file():
        raise AdammsError(f"mode.folder: {wanted.folder} has no README.md, the model card")
    files = [path for path in wanted.folder.rglob("*") if path.is_file()]
    return sorted(path for path in files if not path.relative_to(wanted.folder).parts[0].startswith("."))


def _send(wanted: Push) -> str:
    """Make the repository if need be and send the folder; large files continue where they stopped.

    Raises:
        AdammsError: the hub refuses, or nobody is logged in.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError

    if get_token() is None:
        raise AdammsError("nobody is logged in to the hub; hf auth login, or set HF_TOKEN")
    api = HfApi()
    try:
        api.create_repo(wanted.repo, private=wanted.private, exist_ok=True)
        done = api.upload_folder(
            repo_id=wanted.repo,
            folder_path=wanted.folder,
            commit_message=wanted.message,
            ignore_patterns=[".*"],
        )
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise AdammsError(
            f"mode.repo={wanted.repo}: {type(error).__name__}: {str(error).splitlines()[0][:300]}"
        ) from error
    return str(done.repo_url)

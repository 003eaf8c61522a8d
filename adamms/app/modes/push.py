"""mode=push: a merged folder to the hub, checked before anything is sent."""

from pathlib import Path

from adamms.app.settings import Run
from adamms.checkpoint.hub.location import HUB_ID
from adamms.checkpoint.reader import open_checkpoint
from adamms.checkpoint.side_files import RECORD, leads_out
from adamms.errors import AdammsError
from adamms.report.console import Console
from adamms.report.result import Result
from adamms.system.sizes import scaled


def push(
    run: Run, console: Console, folder: Path, repo: str, private: bool, dry_run: bool, message: str
) -> Result:
    """Send a merged model with its card to the hub.

    Args:
        folder: a merged model, as a run leaves it in OUTPUT/model.
        repo: `owner/name` on the hub; made if it is not there.
        private: who may see it, when it is made.
        dry_run: say what would be sent, and send nothing.
        message: of the commit.
    """
    files = _checked(folder, repo)
    for file in files:
        console.say(f"{scaled(file.stat().st_size, 'B')} {file.relative_to(folder)}")
    total = sum(file.stat().st_size for file in files)
    where = f"{repo} ({'private' if private else 'public'})"
    if dry_run:
        console.say(f"dry run: {len(files)} files, {scaled(total, 'B')} would go to {where}")
    else:
        with console.stage("upload", total, "bytes") as advance:
            url = _send(folder, repo, private, message)
            advance(total)
        console.say(f"{len(files)} files, {scaled(total, 'B')} are at {url}")
    return Result(title=f"push to {repo}", folder=folder, timings=console.timings)


def _checked(folder: Path, repo: str) -> list[Path]:
    """The files to send, in order.

    Raises:
        AdammsError: an invalid name, a folder that holds no whole merged model, or no model card.
    """
    if not HUB_ID.fullmatch(repo):
        raise AdammsError(f"mode.repo is {repo!r}; expected owner/name")
    if not (folder / RECORD).is_file():
        inside = folder / "model"
        hint = f" Did you mean {inside}?" if (inside / RECORD).is_file() else ""
        raise AdammsError(f"mode.folder: {folder} has no {RECORD}: it is no merged model.{hint}")
    open_checkpoint(folder)  # every shard is there, and whole
    if not (folder / "README.md").is_file():
        raise AdammsError(f"mode.folder: {folder} has no README.md, the model card")
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        if leads_out(folder, path):
            raise AdammsError(f"mode.folder: {path} is a link out of the folder; put the file itself there")
    return sorted(path for path in files if not path.relative_to(folder).parts[0].startswith("."))


def _send(folder: Path, repo: str, private: bool, message: str) -> str:
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
        api.create_repo(repo, private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo, folder_path=folder, commit_message=message, ignore_patterns=[".*"]
        )
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise AdammsError(
            f"mode.repo={repo}: {type(error).__name__}: {' '.join(str(error).split())}"
        ) from error
    return str(done.repo_url)

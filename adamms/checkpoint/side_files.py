"""Everything of a checkpoint folder but its weights: copied, so that the result loads as the target does.

Owns which files those are. Knows nothing of tensors.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from adamms.checkpoint.tensor_entry import DTYPES

# The weights' files that transformers looks for, in its order of preference.
SINGLE_NAMES = ("model.safetensors", "pytorch_model.bin")
INDEX_NAMES = tuple(f"{name}.index.json" for name in SINGLE_NAMES)
# config, generation config, tokenizer, processor, chat templates, remote code, licences.
SUFFIXES = (".json", ".jinja", ".txt", ".model", ".tiktoken", ".py", ".yaml", ".yml", ".md", ".pdf")
BARE_NAMES = ("LICENSE", "LICENCE", "NOTICE", "USE_POLICY")
VOICES = "spk_dict.pt"  # Qwen2.5-Omni does not load without
# Side files that no model reads.
DOCUMENTS = (".md", ".pdf")
RECORD = "adamms_recipe.json"  # how a merged model was made
# Written anew for the merged model.
REPLACED = (*INDEX_NAMES, "README.md", RECORD)


def side_files(folder: Path) -> list[Path]:
    """Paths relative to `folder` of the files that a merged model takes over, sorted.

    Python files and chat templates may lie in subfolders; hidden folders are left out. A vision tower in a
    folder of its own, as the original LLaVA's config.json names it (Yi-VL's `vit`), comes along whole.
    Links out of the folder are not followed, see `links_out`; those into the hub's cache are.
    """
    return [file for file in _wanted(folder) if _is_its_own(folder, file)]


def links_out(folder: Path) -> list[Path]:
    """Of those files the ones that `side_files` leaves out: links out of the folder, or to nothing."""
    return [file for file in _wanted(folder) if not _is_its_own(folder, file)]


def leads_out(folder: Path, path: Path) -> bool:
    """Whether `path` is a link out of `folder`, and not to a blob of the hub's cache.

    The hub's cache keeps contents in `models--OWNER--NAME/blobs` and links them into `snapshots` beside it.
    An entry that was moved may have any name. A blob may be a link into `blobs` of the whole cache.
    """
    home, place = Path(os.path.realpath(folder)), Path(os.path.realpath(path))
    if place.is_relative_to(home) or _is_blob(place):
        return False
    link = Path(os.path.realpath(path.parent), path.readlink() if path.is_symlink() else path.name)
    blobs = Path(os.path.realpath(link.parent))
    own = home.parent.name == "snapshots" and blobs == home.parent.parent / "blobs"
    known = own or _is_blob(blobs / link.name)
    return not (known and (place.parent == blobs or place.is_relative_to(blobs.parent.parent / "blobs")))


def _is_blob(file: Path) -> bool:
    return file.parent.name == "blobs" and file.parent.parent.name.startswith("models--")


def _is_its_own(folder: Path, file: Path) -> bool:
    return (folder / file).is_file() and not leads_out(folder, folder / file)


def _wanted(folder: Path) -> list[Path]:
    found = []
    tower = _tower(folder)
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_dir() or not (path.is_file() or path.is_symlink()):
            continue
        whole = tower is not None and path.is_relative_to(tower) and not _hidden(relative)
        if (is_side_file(relative) or whole) and str(relative) not in REPLACED:
            found.append(relative)
    return found


def is_side_file(relative: PurePath) -> bool:
    """Whether a file of a model, by its path in the model's folder, is one beside its weights."""
    if _hidden(relative):
        return False
    if len(relative.parts) > 1:
        return relative.suffix in (".py", ".jinja")
    named = relative.name == VOICES or relative.name.upper().startswith(BARE_NAMES)
    return named or relative.suffix in SUFFIXES


def _hidden(relative: PurePath) -> bool:
    return any(part.startswith((".", "__pycache__")) for part in relative.parts)


def named_tower(folder: Path) -> str:
    """What the config.json in `folder` names as its vision tower, perhaps a folder in it; "" for nothing."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # which a reader of the configuration reports
        return ""
    named = config.get("mm_vision_tower") if isinstance(config, dict) else None
    # A file's name has at most 255 bytes.
    return named if isinstance(named, str) and len(named.encode(errors="replace")) < 256 else ""


def _tower(folder: Path) -> Path | None:
    """The vision tower's folder inside `folder`; None if there is none."""
    inside = folder / named_tower(folder)
    return inside if inside.is_dir() and folder in inside.parents else None


def copy_side_files(source: Path, destination: Path) -> None:
    """Copy them from `source` to `destination`; what is linked is copied, as the hub's cache is all links."""
    for relative in side_files(source):
        (destination / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / relative, destination / relative)


def with_dtype(config: Mapping[str, Any], dtype: str | None) -> Mapping[str, Any]:
    """A config.json that says this of its weights, wherever it says which dtype they have.

    Args:
        dtype: as in safetensors' headers; None to leave it as it is.
    """
    if dtype is None:
        return config
    name = DTYPES[dtype].torch
    keys = ("dtype", "torch_dtype")

    def changed(node: Mapping[str, Any]) -> dict[str, Any]:
        inner = {key: changed(value) if isinstance(value, dict) else value for key, value in node.items()}
        return inner | {key: name for key in keys if key in node}

    return ({} if any(key in config for key in keys) else {"torch_dtype": name}) | changed(config)

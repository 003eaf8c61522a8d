"""Everything of a checkpoint folder but its weights: copied, so that the result loads as the target does.

Owns which files those are. Knows nothing of tensors.
"""

import json
import shutil
from pathlib import Path

# The weights' files that transformers looks for, in its order of preference.
SINGLE_NAMES = ("model.safetensors", "pytorch_model.bin")
INDEX_NAMES = tuple(f"{name}.index.json" for name in SINGLE_NAMES)
# config, generation config, tokenizer, processor, chat templates, remote code, licences.
SUFFIXES = (".json", ".jinja", ".txt", ".model", ".tiktoken", ".py", ".yaml", ".yml", ".md", ".pdf")
BARE_NAMES = ("LICENSE", "LICENCE", "NOTICE", "USE_POLICY")
# Side files that no model reads.
DOCUMENTS = (".md", ".pdf")
# Written anew for the merged model.
REPLACED = (*INDEX_NAMES, "README.md", "adamms_recipe.json")


def side_files(folder: Path) -> list[Path]:
    """Paths relative to `folder` of the files that a merged model takes over, sorted.

    Python files and chat templates may lie in subfolders; hidden folders are left out. A vision tower in a
    folder of its own, as the original LLaVA's config.json names it (Yi-VL's `vit`), comes along whole.
    """
    found = []
    tower = _tower(folder)
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if not path.is_file() or any(part.startswith((".", "__pycache__")) for part in relative.parts):
            continue
        top_level = len(relative.parts) == 1
        wanted = path.suffix in SUFFIXES if top_level else path.suffix in (".py", ".jinja")
        bare = top_level and path.name.upper().startswith(BARE_NAMES)
        whole = tower is not None and path.is_relative_to(tower)
        if (wanted or bare or whole) and str(relative) not in REPLACED:
            found.append(relative)
    return found


def _tower(folder: Path) -> Path | None:
    """The vision tower's folder inside `folder`; None if there is none."""
    config = folder / "config.json"
    try:
        named = json.loads(config.read_text(encoding="utf-8")).get("mm_vision_tower")
    except (FileNotFoundError, json.JSONDecodeError):  # which a reader of the configuration reports
        return None
    inside = folder / named if isinstance(named, str) else folder
    return inside if inside.is_dir() and folder in inside.parents else None


def copy_side_files(source: Path, destination: Path) -> None:
    """Copy them from `source` to `destination`; links are followed, as a hub cache is made of links."""
    for relative in side_files(source):
        (destination / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / relative, destination / relative)

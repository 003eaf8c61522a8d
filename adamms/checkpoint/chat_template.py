"""The chat template in a checkpoint's folder, as text. Nothing is rendered, and no library loads it."""

from pathlib import Path
from typing import Any

from adamms.checkpoint.reader import read_json

# JSON files with a template in them, in transformers' order of preference.
_JSON = ("chat_template.json", "tokenizer_config.json")


def read_chat_template(folder: Path) -> str:
    """The template, several one after another; "" where there is none.

    Raises:
        AdammsError: a file that is no JSON.
    """
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8", errors="replace")
    for name in _JSON:
        if (folder / name).is_file() and (found := read_json(folder / name).get("chat_template")):
            return "\n".join(map(_text, found)) if isinstance(found, list) else str(found)
    return ""


def _text(named: Any) -> str:
    """The template of {"name": ..., "template": ...}, as tokenizers with several have them."""
    return str(named.get("template", "")) if isinstance(named, dict) else str(named)

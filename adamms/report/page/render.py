"""Makes one HTML file that asks nothing of any network.

Style and scripts go into the file, and its policy names their hashes: the browser runs nothing else, whatever
a model's answers hold, and loads nothing from anywhere. Jinja escapes everything that a
template is given.
"""

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

FILES = Path(__file__).parent


@dataclass(frozen=True)
class Fact:
    """A number that comes first, with its standard error.

    Args:
        mood: "good", "fair", "bad" or "".
        lead: whether it is the one to look at.
    """

    name: str
    value: str
    words: str
    mood: str = ""
    error: str = ""
    lead: bool = False


def templates(folder: Path) -> Environment:
    """The templates in a folder: what they are given is escaped, and a name that is not given is an error."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, context: Mapping[str, Any], scripts: tuple[str, ...]) -> str:
    """The page's text.

    Args:
        template: name of a file beside this module.
        context: what the template knows by name.
        scripts: names of files beside this module.
    """
    style = _asset("style.css")
    code = [_asset(name) for name in scripts]
    hashes = " ".join(map(_hash, code))
    policy = f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {hashes}"
    policy += "; base-uri 'none'; form-action 'none'"
    parts = {"policy": policy, "style": Markup(style), "scripts": [Markup(text) for text in code]}
    pages = templates(FILES)
    pages.filters["data"] = _data
    return pages.get_template(template).render(parts, **context)


def _asset(name: str) -> str:
    return (FILES / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode('ascii')}'"


def _data(value: Any) -> Markup:
    """JSON for a script element or an attribute: without the letters that could end either."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for letter in "<>&'":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)

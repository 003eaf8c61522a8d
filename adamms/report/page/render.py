"""Makes one HTML file that asks nothing of any network.

Style and scripts go into the file, and its policy names their hashes: the browser runs nothing else, whatever
a model's answers hold, and loads nothing from anywhere. Jinja escapes everything that a
template is given.
"""

import json
import sys
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from importlib.util import cache_from_source
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from jinja2 import BytecodeCache, Environment, FileSystemLoader, StrictUndefined
from jinja2.bccache import Bucket
from markupsafe import Markup

from adamms.errors import AdammsError
from adamms.system.whole_file import write_whole

FILES = Path(__file__).parent
# Where Python keeps this module compiled.
COMPILED = Path(cache_from_source(__file__)).parent


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


class CompiledTemplates(BytecodeCache):
    """Keeps compiled templates where Python keeps compiled modules; in a folder that is read-only, none."""

    def get_source_checksum(self, source: str) -> str:
        """Of all that compiled templates follow from: also Jinja's version, and its settings in this file."""
        return super().get_source_checksum(f"{version('jinja2')}{_asset(Path(__file__).name)}{source}")

    def load_bytecode(self, bucket: Bucket) -> None:
        with suppress(OSError, EOFError, UnpicklingError):  # none, or torn
            bucket.bytecode_from_string(_compiled(bucket).read_bytes())

    def dump_bytecode(self, bucket: Bucket) -> None:
        if not sys.dont_write_bytecode:
            with suppress(AdammsError):
                write_whole(_compiled(bucket), bucket.bytecode_to_string())


def _compiled(bucket: Bucket) -> Path:
    return COMPILED / f"{bucket.key}.jinja"


def templates(folder: Path) -> Environment:
    """The templates in a folder: what they are given is escaped, and a name that is not given is an error.

    A template is compiled once and read by later processes: that takes as long as all else of a page.
    """
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        bytecode_cache=CompiledTemplates(),
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

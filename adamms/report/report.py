"""What a run and a multirun leave to look at, and to read back: report.html and result.json; comparison.*.

Every file is whole or absent. The pages are made in `page`; jinja2 is imported only when one is written.
"""

import json
import os
from pathlib import Path

from adamms.errors import AdammsError
from adamms.report.comparison import Comparison
from adamms.report.result import RESULT, Result


def write_report(folder: Path, result: Result) -> Path:
    """Write report.html and result.json of a run, in any mode, into `folder`, which is made if need be.

    Returns:
        The path of report.html.

    Raises:
        AdammsError: a folder that cannot be written to.
    """
    from adamms.report.page.report import page

    write_text(folder / RESULT, json.dumps(result.to_json()) + "\n")
    return write_text(folder / "report.html", page(result))


def write_comparison(comparison: Comparison) -> Path:
    """Write comparison.html and comparison.json into the multirun's folder.

    Returns:
        The path of comparison.html.

    Raises:
        AdammsError: a folder that cannot be written to.
    """
    from adamms.report.page.comparison import page

    content = json.dumps(comparison.to_json(), indent=2, ensure_ascii=False)
    write_text(comparison.folder / "comparison.json", content + "\n")
    return write_text(comparison.folder / "comparison.html", page(comparison))


def write_text(file: Path, text: str) -> Path:
    """Write the file whole or not at all; make its folder if need be.

    A lone surrogate, as a model may produce, becomes "?".

    Returns:
        The file.

    Raises:
        AdammsError: it cannot be written.
    """
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8", errors="replace")
        partial.replace(file)
    except OSError as error:
        raise AdammsError(f"{file}: cannot be written ({error.strerror or error})") from error
    return file

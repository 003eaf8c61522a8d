"""What a run and a multirun leave to look at, and to read back: report.html and result.json; comparison.*.

Every file is whole or absent. The pages are made in `page`; jinja2 is imported only when one is written.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from adamms.report.files import REPORT, RESULT
from adamms.report.result import Result
from adamms.system.whole_file import write_whole

if TYPE_CHECKING:
    from adamms.report.compare.comparison import Comparison


def write_report(folder: Path, result: Result) -> Path:
    """Write report.html and result.json of a run, in any mode, into `folder`, which is made if need be.

    Returns:
        The path of report.html.

    Raises:
        AdammsError: a folder that cannot be written to.
    """
    from adamms.report.page.report import page

    write_whole(folder / RESULT, json.dumps(result.to_json(), separators=(",", ":")) + "\n")
    return write_whole(folder / REPORT, page(result))


def write_comparison(comparison: "Comparison") -> Path:
    """Write comparison.html, comparison.csv and comparison.json into the comparison's folder.

    Where there are published scores to stand beside, published.csv, too.

    Returns:
        The path of comparison.html.

    Raises:
        AdammsError: a folder that cannot be written to.
    """
    from adamms.report.compare import comparison_csv, published
    from adamms.report.page.comparison import page

    content = json.dumps(comparison.to_json(), indent=2, ensure_ascii=False)
    write_whole(comparison.folder / "comparison.json", content + "\n")
    write_whole(comparison.folder / "comparison.csv", comparison_csv.text(comparison))
    if (found := published.beside(comparison)) is not None:
        write_whole(comparison.folder / "published.csv", published.text(found))
    return write_whole(comparison.folder / "comparison.html", page(comparison))

"""`comparison.md`, `.json` and `.html`: a multirun's searches for a reader who was not there.

Arranges what `comparison_tables` says; the page is `page`'s, and jinja2 is imported only when it is written.
"""

import json
from pathlib import Path

from adamms.errors import AdammsError
from adamms.report import comparison_tables
from adamms.report.comparison import Comparison
from adamms.report.markdown import plain, table_text


def write_comparison(comparison: Comparison) -> Path:
    """Write the three files into the multirun's folder.

    Returns:
        The path of comparison.md.

    Raises:
        AdammsError: a folder that cannot be written to.
    """
    from adamms.report.page.comparison import write_page

    report = comparison.folder / "comparison.md"
    try:
        report.write_text(markdown(comparison), encoding="utf-8")
        content = json.dumps(comparison.to_json(), indent=2, ensure_ascii=False)
        (comparison.folder / "comparison.json").write_text(content + "\n", encoding="utf-8")
        write_page(comparison.folder / "comparison.html", comparison)
    except OSError as error:
        raise AdammsError(f"{report}: cannot be written ({error.strerror or error})") from error
    return report


def markdown(comparison: Comparison) -> str:
    """The text of comparison.md."""
    outputs = [f"- job {job.number}: `{job.output}`" for job in comparison.jobs]
    sections = [
        f"# {len(comparison.jobs)} searches compared",
        table_text(comparison_tables.overview(comparison), titled=False),
        "\n".join(f"- {plain(line)}" for line in comparison_tables.legend(comparison)),
        "\n".join(f"- {plain(line)}" for line in comparison_tables.failures(comparison)),
        table_text(comparison_tables.hyperparameters(comparison)),
        table_text(comparison_tables.choices(comparison)),
        "\n".join(outputs),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"

"""The model card of a merged model: the hub's metadata, how it was made, what it is worth, how to load it.

Made from what adamms_recipe.json records and, after a search, from the run's `Result`. Names and licences
come from others: in the text they are code or escaped, so that none of them is Markdown or HTML.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from adamms.checkpoint.hub.location import HUB_ID
from adamms.checkpoint.side_files import leads_out
from adamms.evaluate.evaluation import Scores
from adamms.report import findings, words
from adamms.report.page import curves
from adamms.report.page.picture import drawn
from adamms.report.result import Result
from adamms.system.whole_file import write_whole

PICTURE = "search.png"
PIPELINE = "image-text-to-text"
TEXT_PIPELINE = "text-generation"
CITATION = """@inproceedings{du2025adamms,
  title = {AdaMMS: Model Merging for Heterogeneous Multimodal Large Language Models with Unsupervised
           Coefficients Optimization},
  booktitle = {CVPR},
  year = {2025},
  eprint = {2503.23733},
  archivePrefix = {arXiv}
}"""
# A card's metadata, between two lines of dashes above its text.
_FRONT = re.compile(r"\s*---[^\S\n]*\n(.*?)^---\s*$", re.DOTALL | re.MULTILINE)
# What Markdown, HTML or the hub's own extensions would read as markup.
_MARKUP = re.compile(r"([\\`*_\[\]<>|~&#$@!])")


@dataclass(frozen=True)
class Origin:
    """A model that went into the merge.

    Args:
        name: its hub id, or its folder's name.
        licence: as its own model card says; None where it has no card, or the card says nothing.
    """

    name: str
    licence: str | None = None

    @classmethod
    def of(cls, name: str, folder: Path) -> "Origin":
        """What the card in a checkpoint's folder says."""
        card = folder / "README.md"
        try:
            said = None if leads_out(folder, card) else _front(card).get("license")
        except (OSError, ValueError, RecursionError, yaml.YAMLError):
            return cls(name)
        licences = [one for one in (said if isinstance(said, list) else [said]) if isinstance(one, str)]
        return cls(name, ", ".join(licences) or None)


def write_card(
    folder: Path,
    origins: Sequence[Origin],
    recipe: Mapping[str, Any],
    loader: str,
    result: Result | None = None,
) -> str:
    """Write README.md of a merged model into its folder, and of a search over one axis its picture.

    Args:
        folder: of the model, which holds its side files already.
        origins: target first, then donors, then the ancestor where the method needs it.
        recipe: what adamms_recipe.json holds.
        loader: code that loads such a folder, with {} where that goes.
        result: of the search that chose it; None for a merge at a given alpha.

    Returns:
        The card's text.
    """
    shares = ", ".join(f"{alpha:g} of {_text(name)}" for name, alpha in recipe["coefficients"].items())
    method, rows = recipe["method"]["name"], recipe["coverage"]
    if schedule := recipe.get("schedule"):
        shares += f", by the schedule {_text(words.schedule(schedule))}"
    licences = "; ".join(
        f"{_code_span(one.name)}: {_text(one.licence or 'not said in its folder')}" for one in origins
    )
    coverage = [[r["action"], r["reason"], str(r["tensors"]), f"{r['parameters']:,}"] for r in rows]
    blocks = [
        "# Merged with adamms",
        f"{_code_span(origins[0].name)}, whose architecture it has, merged by `{method}` with {shares}.",
        f"Licences of what went in: {licences}.",
        *_dequantised(recipe),
        *(_found(folder, result) if result is not None else ()),
        "## What was merged",
        _table([["action", "reason", "tensors", "parameters"], *coverage]),
        "The full recipe is in `adamms_recipe.json`.",
        "## Use",
        f"It loads as the target does:\n\n```python\n{_code(loader)}\n```",
        *_remote_code(folder, origins[0].name),
        "## Citation",
        f"```bibtex\n{CITATION}\n```",
    ]
    pipeline = TEXT_PIPELINE if "ForCausalLM" in loader else PIPELINE
    front = yaml.safe_dump(_metadata(origins, recipe, pipeline, result), sort_keys=False).strip()
    text = f"---\n{front}\n---\n\n" + "\n\n".join(blocks) + "\n"
    write_whole(folder / "README.md", text)
    return text


def _front(card: Path) -> dict[str, Any]:
    """The metadata of a model card; {} where there is none."""
    found = _FRONT.match(card.read_text(encoding="utf-8-sig"))
    said = yaml.safe_load(found[1]) if found else None
    return said if isinstance(said, dict) else {}


def _dequantised(recipe: Mapping[str, Any]) -> list[str]:
    """What is said of models that were quantised; nothing where none was."""
    said = recipe.get("dequantised", {})
    told = "; ".join(f"{_text(name)}: {_text(one)}" for name, one in said.items())
    return (
        [f"Quantised models went in ({told}). This one is in 16 bits, its weights not quantised."]
        if said
        else []
    )


def _remote_code(folder: Path, target: str) -> list[str]:
    """What is said of Python files that came along; nothing where there are none."""
    files = [_code_span(file.relative_to(folder).as_posix()) for file in sorted(folder.rglob("*.py"))]
    if not files:
        return []
    return [
        f"Python files that came along from {_code_span(target)}, as they were: {', '.join(files)}. They run "
        f"only with `trust_remote_code=True`."
    ]


def _metadata(
    origins: Sequence[Origin], recipe: Mapping[str, Any], pipeline: str, result: Result | None
) -> dict[str, Any]:
    """The hub's fields. Names that are no hub ids would be links to nowhere: they are in the text alone."""
    ids = [origin.name for origin in origins if HUB_ID.fullmatch(origin.name)]
    related = {"base_model": ids, "base_model_relation": "merge"} if ids else {}
    tags = ["merge", "adamms", str(recipe["method"]["name"])]
    own = {"library_name": "transformers", "pipeline_tag": pipeline, "tags": tags}
    licences = {origin.licence for origin in origins}
    if len(licences) == 1 and None not in licences:
        own |= {"license": words.printable(str(origins[0].licence))}
    elif licences != {None}:
        own |= {"license": "other", "license_name": "of-the-models-it-is-merged-from"}
    return related | own | _index(result, pipeline)


def _index(result: Result | None, pipeline: str) -> dict[str, Any]:
    """The scores in the hub's model-index; {} where there are none."""
    if result is None or result.evaluation is None:
        return {}
    entries = []
    for task in result.tasks:
        value = result.score(result.merged, task)
        if value is not None:
            kind = result.measure or "score"
            metric = {"type": kind.lower().replace(" ", "_"), "name": f"{kind} (%)", "value": round(value, 2)}
            dataset = dict.fromkeys(("name", "type"), words.printable(task))
            entries.append({"task": {"type": pipeline}, "dataset": dataset, "metrics": [metric]})
    return {"model-index": [{"name": words.printable(result.title), "results": entries}]} if entries else {}


def _found(folder: Path, result: Result) -> list[str]:
    """How the setting was chosen, with its picture, and how the model scored."""
    choice, curve = result.choice(None), curves.overall(result)
    blocks = ["## How it was chosen"]
    if choice is not None:
        blocks.append(f"Without labels, over {choice.examples} examples. {_text(findings.how_good(choice))}")
    if curve is not None:
        write_whole(folder / PICTURE, drawn(curve))
        blocks.append(f"![scores by labels, and D, which the search minimises]({PICTURE})")
    if result.evaluation is not None:
        scopes = (None, *result.tasks)
        rows = {"this model": result.scores_of(result.merged), "target alone": result.target_scores}
        rows |= {f"donor {name} alone": found for name, found in result.scored.donors.items()}
        rows |= {f"donor {name} alone: not asked all": Scores({}) for name in result.unscored}
        lines = [[name, *(words.estimate(found.estimate(t)) for t in scopes)] for name, found in rows.items()]
        table = _table([["model", "mean", *result.tasks], *lines])
        said = f"Scores ({result.unit}) on {result.labelled} labelled examples"
        known = ", ± one standard error" if words.error(result.target_scores.estimate()) else ""
        blocks.append(f"{said}{known}:\n\n{table}")
        if (better := result.better_parent) and result.merged == result.winner(None):
            blocks.append(_text(findings.against_parent(*better)))
    return blocks


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown; the first row is the headings."""
    headings, *lines = ([_text(cell) for cell in row] for row in rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in (headings, ["---"] * len(headings), *lines))


def _text(text: str) -> str:
    """`text` as Markdown that shows it as it is, on one line."""
    return _MARKUP.sub(r"\\\1", words.printable(text)).replace("://", "\\://")


def _code_span(text: str) -> str:
    """`text` as Markdown code on one line, whatever backticks it has."""
    text = words.printable(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}"


def _code(loader: str) -> str:
    """An import and a call, on lines of their own."""
    return loader.format("folder").replace("; ", "\n\n", 1)

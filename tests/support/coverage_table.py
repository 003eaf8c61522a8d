"""The table of docs/models.md: which formats and types merge, and what runs them. Measures nothing itself."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import tiny_types
import yaml
from coverage_case import ROOT, Verdict

from adamms.models.registration import families

PAGE = ROOT / "docs/models.md"
BEGIN = "<!-- python tests/benchmarks/coverage.py --write makes what follows -->"
END = "<!-- to here -->"
HEAD = (
    "| model | its language model's names | merges | transformers | vLLM |\n| --- | --- | --- | --- | --- |\n"
)
ENCODER_DECODER = "is an encoder with a decoder"


def written(page: str, part: str) -> str:
    """The page with this part between the marks."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{part}\n{END}{rest.split(END)[1]}"


def generated(page: str) -> str:
    return page.split(BEGIN)[1].split(END)[0]


def table(verdicts: Sequence[Verdict], versions: str, in_vllm: Collection[str]) -> str:
    """Formats that only a spec describes, then transformers' types.

    Args:
        versions: of the libraries, as a sentence names them.
        in_vllm: the classes in vLLM's registry.
    """
    mine = [verdict for verdict in verdicts if not verdict.pair.hub]
    right = [verdict for verdict in mine if verdict.verdict == "right"]
    refused = [verdict.pair.target for verdict in mine if ENCODER_DECODER in verdict.reason]
    rows = [_type_row(verdict, in_vllm) for verdict in mine if verdict.pair.target not in refused]
    return (
        f"With {versions}, {len(right)} of {len(mine)} multimodal types merge: tiny models of each\n"
        "were planned, merged, loaded again and compared with the mix in float64, tensor by tensor.\n\n"
        f"{HEAD}{''.join(_format_row(spec, in_vllm) for spec in specs().values())}{''.join(rows)}\n"
        "Refused, as encoders with a decoder that attends to them are no decoder-only language models:\n"
        f"{', '.join(f'`{kind}`' for kind in refused)}."
    )


def specs() -> dict[str, dict[str, Any]]:
    """Name -> content, of the specs of formats that transformers has no class for."""
    from transformers.models.auto import modeling_auto as auto

    known = {*tiny_types.multimodal_types().values(), *auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()}
    files = sorted((ROOT / "adamms/architectures").glob("*.yaml"))
    found = {file.stem: yaml.safe_load(file.read_text()) for file in files}
    return {name: spec for name, spec in found.items() if {*spec.get("classes", ())} - known}


def _format_row(spec: Mapping[str, Any], in_vllm: Collection[str]) -> str:
    classes = set(spec["classes"])
    native = any(classes & {*family.architectures} for family in families())
    own = specs()
    parts = spec.get("include", {})
    included = [inner for name in parts for inner in own.get(name, {}).get("include", [name])]
    models = [name for name in included if name != "experts"]
    return _row(
        spec["about"],
        ", ".join(models) or "its own names",
        "yes",
        "natively" if native else "no",
        "with its authors' code" if classes & {*in_vllm} and not native else "no",
    )


def _type_row(verdict: Verdict, in_vllm: Collection[str]) -> str:
    pair = verdict.pair
    right = verdict.verdict == "right"
    runs = "generates" if not verdict.generates else "loads"
    name = tiny_types.multimodal_types()[pair.target]
    return _row(
        f"`{pair.target}`",
        pair.text,
        "yes" if right else _reason(verdict),
        runs if right else "",
        "yes" if name in in_vllm else "no",
    )


def _reason(verdict: Verdict) -> str:
    """The first clause of it, without the name of an exception."""
    words = re.sub(r"^[A-Z]\w+: ", "", verdict.reason).partition(": ")[0]
    return f"no: {words}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |\n"

"""mode=extract: the difference of a merge, or of any model, and its target as a LoRA adapter.

One tensor at a time; the merged model is not written. Of adapters of one base, exactly their weighted sum.
"""

from dataclasses import replace
from pathlib import Path

from pydantic import PositiveInt

from adamms.app.adapter_parts import (
    EXPERTS,
    VECTORS,
    VOCABULARY,
    AdapterParts,
    Difference,
    Holds,
    places_in,
)
from adamms.app.json_files import write_json
from adamms.app.merges import Merges
from adamms.app.models import open_source
from adamms.app.modes.common import map_models
from adamms.app.output import result_of
from adamms.app.settings import Run
from adamms.checkpoint.adapters.adapter_writer import write_adapter
from adamms.checkpoint.hub.location import locate
from adamms.checkpoint.reader import Checkpoint, open_checkpoint
from adamms.checkpoint.side_files import RECORD
from adamms.checkpoint.writer import check_writable, whole_folder
from adamms.errors import AdammsError, nearest
from adamms.mapping.specs.resolve import SpecMapper
from adamms.merge.adapters import AdapterSum, base_of
from adamms.merge.device import check_device
from adamms.report import extraction, files
from adamms.report.console import Console
from adamms.report.report import write_report
from adamms.report.result import Result

MORE = {
    VOCABULARY: "mode.holds=matrices takes embeddings and head in, for PEFT",
    VECTORS: "mode.holds=all takes norms and biases in, for PEFT",
    EXPERTS: "mapper.exclude=[moe.expert] merges without experts, mode=merge writes a whole model",
}


def extract(run: Run, console: Console, rank: PositiveInt | None, holds: Holds) -> Result:
    """Write OUT/adapter, extract.json and the report.

    Args:
        rank: of the adapter; None: exactly the sum of adapters of one base.
        holds: what goes into it.

    Raises:
        AdammsError: models that do not differ, or not as an adapter can hold it.
    """
    folder = run.output / files.ADAPTER
    check_writable(folder, 0)
    if run.model_folder is not None:
        result, record = Result(f"{run.model_folder} as an adapter"), {}
        difference = _of_folder(run, console, rank)
    else:
        merges = map_models(run, console)
        merges.check()
        console.begin()
        console.plan(merges.plan)
        merges = merges.measured([], console.stage)
        result, record = result_of(merges, console), merges.record()
        difference = _of_merge(run, merges, rank)
    console.begin()
    places = places_in(difference.base, _trusts(run))
    sizes = sum(difference.base.tensors[name].nbytes for name in difference.names)
    parts = AdapterParts(difference, places, rank, holds, check_device(run.merge.device))
    with console.stage("extract", sizes, "bytes") as advance:
        for name in difference.names:
            parts.add(name)
            advance(difference.base.tensors[name].nbytes)
    found = parts.found()
    with whole_folder(folder, parts.nbytes) as partial:
        write_adapter(partial, _base_name(run, difference.base), parts.matrices, parts.whole, "CAUSAL_LM")
        if record:
            write_json(partial / RECORD, record)
    console.table(extraction.table(found))
    for line in found.lines():
        console.say(line)
    if found.lost:
        ways = "; ".join(MORE[reason] for reason in found.lost if reason in MORE)
        console.warn(f"what is not in the adapter stays as the target has it{ways and f': {ways}'}")
    if result.plan is not None:
        write_json(run.output / files.PLAN, result.plan.to_json())
    result = replace(result, extracted=found, notes=tuple(found.lines()), config=run.config_text)
    write_json(run.output / files.EXTRACTION, extraction.to_json(found))
    console.say(f"report: {write_report(run.output, result)}")
    loader = f"from peft import PeftModel; model = PeftModel.from_pretrained(model, {str(folder)!r})"
    console.say(f"the adapter is in {folder}; {loader}")
    return result


def _of_merge(run: Run, merges: Merges, rank: int | None) -> Difference:
    """Of the configured merge and the target's base; an adapter of the target's is part of the difference."""
    computed = merges.computed(merges.at())
    run.recipe.check_result(computed.fingerprint)
    recipe, sources = computed.recipe, computed.sources
    names = [
        slot.name for slot in recipe.plan.slots if recipe.computes(slot) or slot.name in recipe.target.adapted
    ]
    adapters = None
    if rank is None:
        adapters = AdapterSum(recipe)
        changed = {name for model in adapters.models.values() for name in model.adapted}
        names = [name for name in names if name in changed]
    return Difference(base_of(recipe.target), names, lambda name: recipe.tensor(name, sources), adapters)


def _of_folder(run: Run, console: Console, rank: int | None) -> Difference:
    """Of the model in `model_folder` and the target, tensor by tensor of one name."""
    if rank is None:
        raise AdammsError(
            "mode.rank=null adds up adapters, and model_folder names a model; give mode.rank=16"
        )
    assert run.model_folder is not None
    base, other = base_of(open_source(run.models.target)), open_checkpoint(locate(run.model_folder))
    for name, entry in other.tensors.items():
        own = base.tensors.get(name)
        if own is None or own.shape != entry.shape:
            found = (
                f"shape {list(own.shape)}"
                if own is not None
                else f"no such tensor.{nearest(name, base.tensors)}"
            )
            raise AdammsError(
                f"model_folder={run.model_folder}: {name} has shape {list(entry.shape)}; the target has "
                f"{found}. Other names can be mapped: model.donors.a.path={run.model_folder} merge.alpha=1"
            )
    if lacking := [name for name in base.tensors if name not in other.tensors]:
        console.warn(
            f"model_folder={run.model_folder} lacks {len(lacking)} of the target's tensors, e.g. "
            f"{lacking[0]}; they stay as the target has them"
        )
    return Difference(base, list(other.tensors), other.read)


def _trusts(run: Run) -> bool:
    return isinstance(run.mapper, SpecMapper) and run.mapper.trust_remote_code


def _base_name(run: Run, base: Checkpoint) -> str:
    """The hub id that was given, or the base's folder."""
    keys = run.models.target.keys
    given = run.models.target.path
    local = keys.adapter is not None or Path(given).expanduser().exists()
    return str(base.folder.resolve()) if local else given

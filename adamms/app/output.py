"""What a run leaves in its output folder: the merged model, what is recorded beside it, the answers.

Files are whole or absent.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from adamms.app.checks.environment import merging
from adamms.app.json_files import write_json
from adamms.app.merges import Merges
from adamms.app.recipes.recipe_file import REPLAY, recorded
from adamms.app.settings import Run
from adamms.checkpoint.fingerprint import digest_parts
from adamms.checkpoint.reader import open_checkpoint, read_config, read_json
from adamms.checkpoint.side_files import INDEX_NAMES, copy_side_files, links_out, side_files, with_dtype
from adamms.checkpoint.tensor_entry import TensorEntry
from adamms.checkpoint.writer import check_writable, check_written, whole_folder, write_tensors
from adamms.errors import AdammsError
from adamms.mapping.checks.distance import Distances
from adamms.merge.candidate import Candidate
from adamms.merge.combination import CombiningMethod
from adamms.merge.nonfinite import NonFiniteInputs
from adamms.models.registration import auto_class, native_family
from adamms.report import files
from adamms.report.card import write_card
from adamms.report.console import Console
from adamms.report.report import write_report
from adamms.report.result import Hyperparameters, Result
from adamms.system.whole_file import explained, write_whole

WRITTEN = "written"  # in it: digests of what lies beside it
# What loads the model, its folder in the place of {}.
LOADER = "from transformers import {name}; model = {name}.from_pretrained({{}})"
NATIVE_LOADER = "from adamms.models.registration import load_model; model = load_model({})"
VLLM_LOADER = "from vllm import LLM; model = LLM({}, trust_remote_code=True)"


def write_evaluation(file: Path, result: Result) -> None:
    """evaluation.json: the scores of a search, or of one model, and what evaluation tools found."""
    measure = {"measure": result.measure} if result.measure else {}
    own = {} if result.evaluation is None else result.evaluation.to_json()
    alone = {} if result.scores is None else {"model": result.scores.to_json()}
    tools = {key: found.to_json() for key, found in result.tools.items()}
    write_json(file, measure | own | alone | tools)


def result_of(merges: Merges, console: Console) -> Result:
    """What every mode that maps has to tell."""
    models = merges.models
    donors = {name: donor.name for name, donor in models.donors.items()}
    return Result(
        title=f"{', '.join(donors.values())} into {models.target.name}",
        target=models.target.name,
        donors=donors,
        method=merges.arithmetic,
        plan=merges.plan,
        timings=console.timings,
    )


def _digests(folder: Path) -> dict[str, str]:
    """What tells whether a model's folder is as it was written: of all tensors a sample, all other files."""
    names = [file for file in (*side_files(folder), Path(INDEX_NAMES[0])) if (folder / file).is_file()]
    contents = (f"{name} {hashlib.blake2b((folder / name).read_bytes()).hexdigest()}\n" for name in names)
    return {"weights": open_checkpoint(folder).fingerprint, "other_files": digest_parts(contents)}


@dataclass(frozen=True)
class Output:
    """The merged model of a run, in OUTPUT/model.

    Args:
        run: what was configured.
        merges: what there is to write.
        console: shows progress.
        inputs: infinite and NaN values in what was merged.
    """

    run: Run
    merges: Merges
    console: Console
    inputs: NonFiniteInputs = field(default_factory=NonFiniteInputs)
    _records: dict[Candidate | None, dict[str, Any]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def notes(self) -> tuple[str, ...]:
        """What the report says of the models that were merged: infinite and NaN values."""
        return tuple(self.inputs.lines())

    @property
    def folder(self) -> Path:
        return self.run.output / files.MODEL

    def check(self) -> None:
        """Fail before any work if the model could not be written at the end."""
        models, place = self.merges.models, Path(os.path.realpath(self.run.output))
        for model in (models.target, *models.donors.values(), models.ancestor):
            if model is not None and model.checkpoint.folder.resolve() in (place, *place.parents):
                raise AdammsError(
                    f"output is {self.run.output}, inside the folder of the model {model.checkpoint.folder}: "
                    f"what is written there would become a part of that model; choose another output"
                )
        if not self._kept():
            check_writable(self.folder, self._bytes_needed())
            self._tell_of_side_files()
        self.console.begin()

    def _tell_of_side_files(self) -> None:
        """Say what of the target's folder is not copied although it is wanted, and what code is.

        Raises:
            AdammsError: config.json is not to be copied.
        """
        target = self.merges.models.target
        folder = target.checkpoint.folder
        left = [str(file) for file in links_out(folder)]
        if left:
            said = f"{folder}: links out of the folder, or to nothing, are not followed: {', '.join(left)}"
            instead = f"Put the files themselves there: cp -rL {folder} COPY"
            if "config.json" in left:
                raise AdammsError(f"{said}. {instead}")
            self.console.warn(f"{said}. They will not be beside the merged model. {instead}")
        code = [str(file) for file in side_files(folder) if file.suffix == ".py"]
        if code:
            self.console.say(
                f"Python files of {target.name} will be copied as they are: {', '.join(code)}. They run only "
                f"with trust_remote_code=True"
            )

    @cached_property
    def loader(self) -> str:
        """The code that loads what is written, with {} where the folder goes."""
        target = self.merges.models.target
        if native_family(target.checkpoint.folder) is not None:
            return NATIVE_LOADER
        if target.advice("transformers"):
            return VLLM_LOADER
        return LOADER.format(name=auto_class(target.checkpoint.config))

    @property
    def load(self) -> str:
        """The same with the folder in it."""
        return self.loader.format(repr(str(self.folder)))

    def record(self, candidate: Candidate | None) -> dict[str, Any]:
        """As of `Merges`, of which most is the fingerprint: it is computed once."""
        if candidate not in self._records:
            self._records[candidate] = self.merges.record(candidate)
        return self._records[candidate]

    def write(self, candidate: Candidate | None) -> Path:
        """Write what `Merges.at` gives, with everything that the target's folder has beside its weights."""
        folder, settings = self.folder, self.merges.settings
        node = settings.node if candidate is None else settings.node_at(candidate)
        record = self.record(candidate) | {REPLAY: recorded(self.run.config, node)}
        computed = replace(self.merges.computed(self.merges.at(candidate)), inputs=self.inputs)
        if self._kept() == json.loads(json.dumps(record)):
            self._write_card(folder, candidate)
            self.console.say(f"{folder} was written by this run before; it is kept")
            return folder
        compiled = isinstance(settings.method, CombiningMethod) and settings.device == "cpu"
        if compiled and (passes := merging()).advice:
            self.console.say(f"merging {passes.detail}; {passes.advice}")
        total = sum(entry.nbytes for entry in computed.layout())
        with whole_folder(folder, self._bytes_needed()) as partial:
            with self.console.stage("merge", total, "bytes") as advance:
                limit = int(self.run.max_shard_gb * 1e9)
                write_tensors(computed, partial, limit, computed.workers, advance, computed.write)
            self._tell_of_inputs()
            target = self.merges.models.target.checkpoint
            copy_side_files(target.folder, partial)
            config, said = with_dtype(target.config, settings.dtype), read_config(target.folder)
            if config != said:  # another dtype, an untied head, no quantisation any more
                write_json(partial / "config.json", config)
            self._write_card(partial, candidate)
            write_json(partial / files.RECORD, record | {WRITTEN: _digests(partial)})
            write_whole(folder.parent / files.SETTINGS, self.run.config_text)
        return folder

    def _tell_of_inputs(self) -> None:
        """Warn of infinite and NaN values in what was merged; with plan.strict=true they are an error."""
        if self.notes and self.run.strict:
            raise AdammsError("; ".join(self.notes) + ". plan.strict=false merges them all the same")
        for note in self.notes:
            self.console.warn(note)

    def complete_card(self, result: Result) -> None:
        """Add to the model's card how it was chosen and how it scored."""
        self._write_card(self.folder, result.merged, result)

    def finish(self) -> None:
        """Say where the model is and what loads it, or what is to be done where nothing here can."""
        target = self.merges.models.target
        instead = [target.advice(engine) for engine in ("transformers", "vllm")]
        if all(instead):
            self.console.say(f"The merged model is in {self.folder}. {instead[0]}")
        else:
            self.console.finish(self.folder, self.loader)

    def _write_card(self, folder: Path, candidate: Candidate | None, result: Result | None = None) -> None:
        with_ancestor = self.merges.at(candidate).method.needs_ancestor
        origins = self.merges.models.origins(with_ancestor)
        write_card(folder, origins, self.record(candidate), self.loader, result)

    def _kept(self) -> dict[str, Any] | None:
        """The record of the model that this run wrote before, requeued or repeated; None if there is none.

        Raises:
            AdammsError: the model is not as it was written.
        """
        settings = self.run.output / files.SETTINGS
        with explained(self.run.output, "cannot be read"):
            if not self.folder.is_dir() or not settings.is_file():
                return None
            if settings.read_bytes() != self.run.config_text.encode(errors="replace"):
                return None
        try:
            with explained(self.folder, "cannot be read"):
                check_written(self.folder, self._layout)
                digests = _digests(self.folder)
            with explained(self.folder / files.RECORD, "cannot be read"):
                record = read_json(self.folder / files.RECORD)
            if record.pop(WRITTEN, digests) != digests:
                raise AdammsError(f"{self.folder}: weights or other files were changed")
        except AdammsError as error:
            raise AdammsError(
                f"{error}. This run has written {self.folder} before, and it is not whole any more; remove "
                f"it, and the same command writes it again"
            ) from error
        return record

    @property
    def _layout(self) -> Sequence[TensorEntry]:
        """The tensors that are to be written."""
        return self.merges.computed(self.merges.target()).layout()

    def _bytes_needed(self) -> int:
        checkpoint = self.merges.models.target.checkpoint
        beside = (checkpoint.folder / file for file in side_files(checkpoint.folder))
        tensors = sum(entry.nbytes for entry in self._layout)
        return tensors + sum(file.stat().st_size for file in beside)


def write_merged(output: Output, checks: Distances | None) -> Result:
    """Write the model as it is configured, plan.json and the report; say where they are.

    Args:
        checks: how far the merged tensors are from each other, for the report.
    """
    run, merges, console = output.run, output.merges, output.console
    folder = output.write(None)
    write_json(run.output / files.PLAN, merges.plan.to_json())
    result = replace(
        result_of(merges, console),
        checks=checks,
        notes=output.notes,
        hyperparameters=Hyperparameters.of_recipe(output.record(None)),
        folder=folder,
        load=output.load,
        config=run.config_text,
    )
    console.say(f"report: {write_report(run.output, result)}")
    output.finish()
    return result

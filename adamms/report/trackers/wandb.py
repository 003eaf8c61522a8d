"""`track=wandb`: every job is one run in Weights & Biases, online, offline or disabled.

Owns the life of a run: its id, its group, its end. What is logged in between is in `wandb_record`. The
package wandb is imported when a run starts.
"""

import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Len
from pydantic import NonNegativeInt

from adamms.errors import CHECKOUT, AdammsError, install
from adamms.report.trackers import identity
from adamms.report.trackers.tracker import Job, NoRecord, Record
from adamms.report.trackers.wandb_record import WandbRecord, tolerant

Tag = Annotated[str, Len(1, identity.LONGEST_TAG)]  # as W&B takes them
# What wandb's agent gives the processes that it starts.
SWEEP = "WANDB_SWEEP_ID"
# Where wandb keeps what it is about to upload; else it is in the user's home.
STAGING = "WANDB_DATA_DIR"


@dataclass(frozen=True)
class Wandb:
    """Tells Weights & Biases what runs are and what they found.

    A run's id is a digest of its settings (see `identity.run_id`), and `resume` is "allow": a job that was
    killed or requeued continues the same run. Under wandb's agent the agent's id, project and entity hold.

    Args:
        mode: "online", "offline" (files only, for `wandb sync`) or "disabled".
        project: where the runs appear.
        entity: whose project that is; null for the default of whoever is logged in.
        group: null for the multirun's folder, or the experiment or pair of a single run.
        name: null for the pair, the method and the settings that were typed.
        tags: null for the pair, the method and the engine.
        notes: free text.
        folder: where the folder `wandb` with all of wandb's files goes.
        image_size: longest side of the images in the table of answers, in pixels; 0 for none.
        checksum: read the merged model's files once more, so that W&B can verify downloads of them.
    """

    mode: Literal["online", "offline", "disabled"]
    project: str
    entity: str | None
    group: str | None
    name: str | None
    tags: Sequence[Tag] | None
    notes: str | None
    folder: Path
    image_size: NonNegativeInt
    checksum: bool

    extra: ClassVar[str] = "wandb"  # that it needs

    @contextmanager
    def run(self, settings: Mapping[str, Any], job: Job, say: Callable[[str], None]) -> Iterator[Record]:
        """One run in W&B from beginning to end.

        Raises:
            AdammsError: wandb is missing, nobody is logged in or nothing answers; or the jobs of a
                multirun would have to share the one run that an agent expects.
        """
        wandb = _package()
        if SWEEP in os.environ and job.sweep is not None:
            raise AdammsError(
                "a multirun under a W&B agent: the agent expects one run of each process that it starts; "
                "leave -m out of the sweep's command"
            )
        with _staging(self.folder / "wandb"):
            run = None
            with tolerant(wandb, say):
                run = self._start(wandb, settings, job, say)
            record: Record = NoRecord()
            if run is not None and self.mode != "disabled":
                record = WandbRecord(wandb, run, settings, self.folder, self.image_size, self.checksum, say)
            failure = ""
            try:
                yield record
            except BaseException as error:
                failure = f"{type(error).__name__}: {error}"[:1000]
                raise
            finally:
                with tolerant(wandb, say):
                    if run is not None and failure:
                        run.summary["error"] = failure
                    if run is not None:
                        run.finish(exit_code=int(bool(failure)))

    def _start(
        self, wandb: ModuleType, settings: Mapping[str, Any], job: Job, say: Callable[[str], None]
    ) -> Any:
        own = SWEEP not in os.environ
        self.folder.mkdir(parents=True, exist_ok=True)
        git = str(CHECKOUT) if CHECKOUT is not None and (CHECKOUT / ".git").exists() else None
        try:
            run = wandb.init(
                mode=self.mode,
                id=identity.run_id(settings) if own else None,
                project=self.project if own else None,
                entity=self.entity if own else None,
                group=self.group if self.group is not None else identity.group(settings, job),
                name=self.name if self.name is not None else identity.name(settings, job),
                tags=tuple(self.tags) if self.tags is not None else identity.tags(settings, job),
                notes=self.notes,
                job_type=settings.get("mode", {}).get("name"),
                config={**settings, "options": dict(job.choices)},
                dir=str(self.folder),
                resume="allow",
                reinit="finish_previous",
                settings=wandb.Settings(silent=True, disable_git=git is None, git_root=git),
            )
        except wandb.Error as error:
            raise AdammsError(
                f"track=wandb: {str(error).rstrip('. ')}. Run `wandb login` once, or use track.mode=offline "
                "and `wandb sync` later"
            ) from error
        for key, value in settings.items():
            # What the sweep sets, e.g. merge=ties, is in the settings' place and locked.
            if not own and isinstance(value, Mapping) and isinstance(run.config.get(key), str):
                run.config[f"{key}_settings"] = value
        if self.mode != "disabled":
            if run.summary.get("error") is not None:  # of the attempt before this one
                del run.summary["error"]
            here = f"offline, to be uploaded by: wandb sync {shlex.quote(str(Path(run.dir).parent))}"
            say(f"W&B: {run.url if self.mode == 'online' else here}")
        return run


def _package() -> ModuleType:
    try:
        import wandb
    except ImportError as error:
        raise AdammsError(f"track=wandb needs the extra `wandb`: {install('wandb')}") from error
    return wandb


@contextmanager
def _staging(folder: Path) -> Iterator[None]:
    """Have wandb keep what it is about to upload in `folder`, unless the user says where.

    An offline run that is moved or synchronised later is whole only with these files.
    """
    if STAGING in os.environ:
        yield
        return
    os.environ[STAGING] = str(folder.resolve())
    try:
        yield
    finally:
        del os.environ[STAGING]

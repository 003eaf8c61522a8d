"""A model's repository on the hub: which of its files are needed, and their download to the hub's cache.

The endpoint, the cache's place and offline use are huggingface_hub's own settings (HF_ENDPOINT, HF_HOME,
HF_HUB_OFFLINE). Knows nothing of the files' contents but the index.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from pathlib import Path, PurePosixPath

from adamms.checkpoint.mistaken_paths import WEIGHT_SUFFIXES
from adamms.checkpoint.reader import ADAPTER_CONFIG, may_be_weights, read_index
from adamms.checkpoint.side_files import BARE_NAMES, INDEX_NAMES, SINGLE_NAMES, is_side_file, named_tower
from adamms.errors import AdammsError
from adamms.system.sizes import scaled

# Mistral's repositories hold the same weights again under this name.
SECOND_COPY = "consolidated"
# Reports, which may be large; a licence in this form is needed.
REPORT = ".pdf"
# Files that a message names.
LISTED = 3


class Unreachable(AdammsError):
    """The hub does not give a repository: it is not there or not to be had, or nobody answers."""


@dataclass(frozen=True)
class Repository:
    """A model on the hub.

    >>> files = {"config.json": 650, "model.safetensors": 4_976_698_672, "onnx/model.onnx": 9_953_000_000}
    >>> Repository("owner/name", None, "8a1f", files).side_files
    ['config.json']

    Args:
        name: owner/name.
        revision: branch, tag or commit; None for the main branch.
        commit: which one that is.
        sizes: path in the repository -> bytes.
    """

    name: str
    revision: str | None
    commit: str
    sizes: Mapping[str, int]

    @property
    def side_files(self) -> list[str]:
        """All but the weights: configuration, tokenizer, processor, templates, code, card and licences."""
        paths = {name: PurePosixPath(name) for name in self.sizes}
        return [
            name
            for name, path in paths.items()
            if is_side_file(path) and (path.suffix != REPORT or name.upper().startswith(BARE_NAMES))
        ]

    def weights(self, folder: Path) -> list[str]:
        """The files that hold the weights, as the reader of a folder chooses them, and a vision tower's.

        Args:
            folder: where the side files are, an index among them.
        """
        tower = named_tower(folder)
        return [*self.own_weights(folder), *(name for name in self.sizes if tower and _is_in(name, tower))]

    def own_weights(self, folder: Path) -> list[str]:
        """Those files without the vision tower's.

        Raises:
            AdammsError: there are none, or several and no index.
        """
        for single, index in zip(SINGLE_NAMES, INDEX_NAMES, strict=True):
            if index in self.sizes:
                return list(dict.fromkeys(read_index(folder / index).values()))
            if single in self.sizes:
                return [single]
        own = [name for name in self.sizes if "/" not in name and may_be_weights(name)]
        if ADAPTER_CONFIG in self.sizes:
            return own
        for suffix in WEIGHT_SUFFIXES:
            found = [name for name in own if name.endswith(suffix)]
            first = [name for name in found if not name.startswith(SECOND_COPY)] or found
            if len(first) == 1:
                return first
        what = "several files of weights and no index" if own else "no weights as safetensors or torch files"
        largest = sorted(own or self.sizes, key=lambda name: -self.sizes[name])[:LISTED]
        raise AdammsError(f"{self.name}: {what}; its largest files: {', '.join(largest)}")

    def download(self, weights: bool) -> Path:
        """The folder in the hub's cache with the side files and, if asked for, the weights.

        Raises:
            AdammsError: the disk is too small, or the weights are not to be found.
            Unreachable: the hub stops to answer.
        """
        folder = self._fetch(self.side_files)
        return self._fetch(self.weights(folder)) if weights else folder

    def _fetch(self, names: Sequence[str]) -> Path:
        from huggingface_hub import snapshot_download

        there = cached_folder(self.name, self.commit)
        absent = [name for name in names if there is None or not (there / name).exists()]
        self._check_space(sum(self.sizes.get(name, 0) for name in absent))
        with reaching(self.name, self.revision):
            patterns = [escape(name) for name in names]
            return Path(snapshot_download(self.name, revision=self.revision, allow_patterns=patterns))

    def _check_space(self, needed: int) -> None:
        from huggingface_hub import constants

        cache = Path(constants.HF_HUB_CACHE).expanduser().absolute()
        place = next(path for path in (cache, *cache.parents) if path.exists())
        free = shutil.disk_usage(place).free
        if needed > free:
            raise AdammsError(
                f"{self.name}: {scaled(needed, 'B')} are to be downloaded, and {cache} has "
                f"{scaled(free, 'B')} free. Make room, or name another place: HF_HOME=FOLDER"
            )


def list_repository(name: str, revision: str | None) -> Repository:
    """What the hub has of a model.

    Raises:
        Unreachable: it has none of that name or revision, gives it to others only, or does not answer.
    """
    from huggingface_hub import HfApi, constants

    with reaching(name, revision):
        found = HfApi().model_info(
            name, revision=revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
        )
    sizes = {file.rfilename: file.size or 0 for file in found.siblings or ()}
    return Repository(name, revision, str(found.sha), sizes)


def cached_folder(name: str, revision: str | None) -> Path | None:
    """The repository's folder in the hub's cache, whatever is in it; None if there is none."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        # Nothing is asked for, as a list of all files would have the hub's library miss those we do not want.
        return Path(snapshot_download(name, revision=revision, local_files_only=True, allow_patterns=[]))
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return None


def missing_weights(folder: Path) -> list[str]:
    """Files of the weights that a folder of the hub's cache lacks, as far as its index says."""
    for single, index in zip(SINGLE_NAMES, INDEX_NAMES, strict=True):
        if (folder / index).exists():
            shards = dict.fromkeys(read_index(folder / index).values())
            return [shard for shard in shards if not (folder / shard).exists()]
        if (folder / single).exists():
            return []
    return [] if any(may_be_weights(file.name) for file in folder.iterdir()) else [SINGLE_NAMES[0]]


def _is_in(name: str, folder: str) -> bool:
    return PurePosixPath(folder) in PurePosixPath(name).parents


@contextmanager
def reaching(name: str, revision: str | None) -> Iterator[None]:
    """What the hub, or the way to it, has against a request, as `Unreachable`."""
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, HFValidationError, HTTPError, RepositoryNotFoundError

    try:
        yield
    except (HTTPError, HFValidationError, OSError) as error:
        at = f" at revision {revision}" if revision else ""
        way = ""
        if isinstance(error, GatedRepoError):
            way = f"; accept its terms at {constants.ENDPOINT}/{name} and log in: hf auth login"
        elif isinstance(error, RepositoryNotFoundError):
            way = "; if it is private, log in: hf auth login"
        raise Unreachable(
            f"{name}{at}: no such local folder, and the hub did not give it "
            f"({type(error).__name__}: {' '.join(str(error).split())}{way})"
        ) from error

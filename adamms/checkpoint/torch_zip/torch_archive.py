"""The zip archive that torch.save writes (.bin, .pth, .pt): where each of its records lies in the file.

Refuses what torch itself refuses, and what two readers could read differently. Knows nothing of pickles.
"""

import zipfile
from pathlib import Path
from typing import Any

import torch

from adamms.checkpoint.torch_zip.torch_pickle import load_headers
from adamms.errors import AdammsError

# The pickle of a checkpoint takes about 250 bytes for a tensor; one that is larger holds something else.
MAX_PICKLE_BYTES = 32_000_000
_IS_FOLDER = 0x10  # of MS-DOS
# Where training frameworks put the weights: Lightning, DeepSpeed, and scripts of one's own.
_WEIGHTS = ("state_dict", "module", "model")


def read_archive(file: Path) -> object:
    """What was saved, with headers in the tensors' places. No storage is read.

    Raises:
        pickle.UnpicklingError: the pickle asks for more than tensors; the message says what.
        AdammsError: a compressed archive, TorchScript, or the other byte order.
        RuntimeError, zipfile.BadZipFile, and what a malformed archive may raise: not a readable archive.
    """
    with zipfile.ZipFile(file) as archive:
        root = archive.infolist()[0].filename.partition("/")[0] + "/"
        records = _records(file, archive, root)
        texts = [name for name in records if not name.startswith("data/")]
        if sum(len(records[name]) for name in texts) > MAX_PICKLE_BYTES:
            raise zipfile.BadZipFile("what is beside its storages is too large")
        read = {name: archive.read(root + name) for name in texts}
    if "constants.pkl" in read:
        raise AdammsError(f"{file}: holds a TorchScript program; save its state_dict() with torch.save")
    if read.get("byteorder", b"little") != b"little":
        raise AdammsError(f"{file}: was written on a machine of the other byte order; re-save it here")
    int(read.get(".storage_alignment", b"64"))  # as torch does: what is no number is damaged
    return load_headers(read["data.pkl"], records)


def _records(file: Path, archive: zipfile.ZipFile, root: str) -> dict[str, range]:
    """Each record's bytes in the file: stored as they are, one after the other, each name once."""
    # torch.load's own reader: it refuses other versions, and folders beside the root.
    reader: Any = torch._C.PyTorchFileReader(str(file))
    names = {f"{root}{name}": name for name in reader.get_all_records()}
    found: dict[str, range] = {}
    end = 0
    for member in sorted(archive.infolist(), key=lambda member: member.header_offset):
        if member.compress_type != zipfile.ZIP_STORED:
            raise AdammsError(
                f"{file}: {member.filename[:80]} is compressed; re-save the file with torch.save"
            )
        name = names.pop(member.filename, "")
        if not name or name != name.lower():  # torch looks records up whatever their case
            raise zipfile.BadZipFile(f"{member.filename[:80]} is there twice, or not named as torch names it")
        archive.open(member).close()  # raises if the record's own header says something else
        if member.external_attr & _IS_FOLDER:  # which torch takes for empty
            raise zipfile.BadZipFile(f"{member.filename[:80]} says that it is a folder")
        start = reader.get_record_offset(name)
        if not end <= member.header_offset < start or (member.header_offset and not found):
            raise zipfile.BadZipFile(f"{member.filename[:80]} is not where the directory says")
        end = start + member.file_size
        if end > archive.start_dir or member.file_size != member.compress_size:
            raise zipfile.BadZipFile(f"{member.filename[:80]} is not as long as the directory says")
        found[name] = range(start, end)
    return found


def weights_in(content: Any) -> Any:
    """The weights in what a training framework saves beside its optimizer; anything else is its content."""
    names = (name for name in _WEIGHTS if isinstance(content, dict) and isinstance(content.get(name), dict))
    return next((content[name] for name in names), content)

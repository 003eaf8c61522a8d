"""Files that are whole or absent, whenever the process dies: the one way in which adamms writes small files.

Knows nothing of what is in them. Large files of a model become whole together: `writer`.
"""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from adamms.errors import AdammsError


def write_whole(file: Path, content: str | bytes) -> Path:
    """Write the file; make its folder if need be.

    What was there before stays until all of the new content is on the disk. A link is replaced, never written
    through, and so is a file with several names: other folders keep their content. Of a text, a lone
    surrogate, as a model may produce, becomes "?".

    Returns:
        The file.

    Raises:
        AdammsError: it cannot be written; what was there before is kept.
    """
    raw = content.encode("utf-8", errors="replace") if isinstance(content, str) else content
    partial = file.with_name(f".{uuid.uuid4().hex}.partial")  # the file's own name may be too long already
    with explained(file, "cannot be written"):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("xb") as stream:
                stream.write(raw)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(file)
        except BaseException:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
        sync(file.parent)
    return file


def sync(path: Path) -> None:
    """Have a file's content, or the names in a folder, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that cannot sync a folder
            raise
    finally:
        os.close(descriptor)


@contextmanager
def explained(path: Path, what: str) -> Iterator[None]:
    """Errors of the system in the block, as AdammsErrors that name the path: "PATH: WHAT (No space left)"."""
    try:
        yield
    except OSError as error:
        raise AdammsError(f"{path}: {what} ({error.strerror or error})") from error

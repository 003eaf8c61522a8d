"""run.log: what the console says, beside the results. Knows no words."""

from pathlib import Path
from typing import TextIO

from adamms.report.files import LOG
from adamms.system.whole_file import explained, write_whole


class RunLog:
    """A text file that is held back until the work begins, so that a run that is refused leaves nothing.

    A run that is started again in the same folder goes on below what is there.

    Args:
        folder: of the results.
        heading: a line above all others.
        files: name -> content of files that are written into the folder when the work begins.
    """

    def __init__(self, folder: Path, heading: str, files: dict[str, str]) -> None:
        self._file = folder / LOG
        self._held = [f"{heading}\n"]
        self._files = files
        self._stream: TextIO | None = None

    def begin(self) -> None:
        """The checks are over: write what was said, and from now on whatever is."""
        if self._stream is not None:
            return
        for name, content in self._files.items():
            write_whole(self._file.parent / name, content)
        with explained(self._file, "cannot be written"):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            if self._file.is_symlink() or (self._file.exists() and self._file.stat().st_nlink > 1):
                self._file.unlink()  # of another folder, as a copy by links has it
            # A line is in the file when it has been said, whatever becomes of the process.
            self._stream = self._file.open("a", buffering=1, encoding="utf-8", errors="replace")
            self._stream.write("".join(self._held))

    def write(self, text: str) -> int:
        """As of a file."""
        if self._stream is None:
            self._held.append(text)
            return len(text)
        with explained(self._file, "cannot be written"):
            return self._stream.write(text)

    def flush(self) -> None:
        """As of a file, which has every line already."""

    def close(self) -> None:
        """Nothing is written any more."""
        if self._stream is not None:
            self._stream.close()

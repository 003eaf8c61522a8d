"""What makes two questions to a model the same one: digests of text and pixels."""

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from adamms.data.example import Example, Video
from adamms.engines.image import shown_otherwise_before
from adamms.errors import AdammsError

AS_SEEN = "as a person sees it"  # in the digest of an example whose image was once read otherwise


def example_digest(example: Example, sampling: str = "") -> str:
    """A digest of what the model is asked: the question's text and the bytes of its media, nothing else.

    Images that versions up to 0.3 read wrongly get a mark of their own, so that answers to what the models
    saw then are not taken. A file of a video counts with the version of PyAV, which may decode it otherwise.

    Args:
        sampling: what decides which frames of a video are seen.

    Raises:
        AdammsError: an image or a video that cannot be read.
    """
    seen: list[Any] = [part for image in example.images for part in _seen(image)]
    seen += [] if example.video is None else [_video(example.video, sampling)]
    return digest(json.dumps([example.question, *(seen or [None])]).encode())


def _video(video: Video, sampling: str) -> list[Any]:
    if video.of_frames:
        return ["video", sampling, [_seen(file) for file in video.files], video.disturbance]
    files = [digest(_content("video", file)) for file in video.files]
    return ["video", f"{sampling} {_decoder()}", files, video.disturbance]


def _decoder() -> str:
    """What decodes files of videos, with its version; "" where it is not installed."""
    try:
        return f"av {version('av')}"
    except PackageNotFoundError:
        return ""


def _seen(image: Path) -> list[str]:
    content = _content("image", image)
    return [digest(content), *([AS_SEEN] if shown_otherwise_before(content) else [])]


def _content(kind: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise AdammsError(f"{kind} {file}: {error.strerror or error}") from error


def digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()

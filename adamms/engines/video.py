"""How a video is opened, for every engine, the check of the data, the report and W&B.

Knows nothing of examples. PyAV and transformers are imported when they are needed.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from adamms.data.example import Medium, Video
from adamms.data.pictures import BEGINNINGS, VIDEO
from adamms.engines.disturbance import changed
from adamms.engines.image import open_image
from adamms.errors import AdammsError, install, shortened

FPS = 24.0  # of frames that are given as pictures, and of files that do not say it: transformers' own value
MOST_BYTES = 4_000_000_000  # that the frames which are shown of one video may take
CUT = 0.1  # of a video; where more of it is missing, the file is not whole
# What FFmpeg calls the formats of BEGINNINGS, where that is not a file's ending.
DEMUXERS = {"mp4": "mov", "mkv": "matroska", "ogv": "ogg", "mpg": "mpeg", "ts": "mpegts", "wmv": "asf"}
Choose = Callable[[int, float], Sequence[int]]  # frames of a video, frames per second -> those that are shown


@dataclass(frozen=True)
class Clip:
    """What a model is shown of a video.

    Args:
        frames: shape (frames, height, width, 3), 8 bits, RGB.
        places: of these frames among all, from 0.
        total: how many the video has.
        fps: frames per second of the video.
    """

    frames: np.ndarray
    places: tuple[int, ...]
    total: int
    fps: float

    @property
    def metadata(self) -> dict[str, Any]:
        """What processors want to know, in transformers' words."""
        return {
            "total_num_frames": self.total,
            "fps": self.fps,
            "duration": self.total / self.fps,
            "height": self.frames.shape[1],
            "width": self.frames.shape[2],
            "video_backend": "pyav",
            "frames_indices": list(self.places),
        }


def inputs(clips: Sequence[Clip]) -> dict[str, Any]:
    """The clips as what a processor of transformers takes beside its text; {} for none."""
    if not clips:
        return {}
    return {
        "videos": [[clip.frames] for clip in clips],
        "video_metadata": [[clip.metadata] for clip in clips],
        "do_sample_frames": False,  # they are the sample
    }


def sampled(processor: Any, most: int | None) -> Choose:
    """Which frames a model sees: its video processor's own choice, `most` of them at most.

    All of a video that has no more than `most`. `most=None` leaves the number to the processor, too, which
    may take all.
    """
    from transformers.video_utils import VideoMetadata

    own = processor.video_processor

    def choose(total: int, fps: float) -> Sequence[int]:
        if total <= most if most is not None else not own.do_sample_frames:
            return range(total)
        wanted = {} if most is None else {"num_frames": most, "fps": None}
        metadata = VideoMetadata(total_num_frames=total, fps=fps, duration=total / fps)
        chosen = [int(place) for place in own.sample_frames(metadata=metadata, **wanted)]
        if most is not None and len(chosen) > most:  # some processors know a rate and no number
            chosen = [chosen[len(chosen) * place // most] for place in range(most)]
        return chosen

    return choose


def open_video(video: Video, choose: Choose) -> Clip:
    """The frames that are shown, upright and in RGB.

    Raises:
        AdammsError: there is no such file, it does not decode, or PyAV is not installed.
    """
    clip = _of_pictures(video.files, choose) if video.of_frames else _of_file(video.files[0], choose)
    if not video.disturbance:
        return clip
    return replace(clip, frames=changed(clip.frames, np.random.default_rng(video.disturbance)))


def shown(medium: Medium) -> Image.Image:
    """An image, or the first frame of a video, for people.

    Raises:
        AdammsError: as `open_image` and `open_video`.
    """
    if isinstance(medium, Path):
        return open_image(medium)
    return Image.fromarray(open_video(medium, lambda total, fps: (0,)).frames[0])


def _of_pictures(files: Sequence[Path], choose: Choose) -> Clip:
    places = tuple(choose(len(files), FPS))
    frames = None
    for number, place in enumerate(places):
        frame = np.asarray(open_image(files[place]))
        frames = _room(len(places), *frame.shape[:2]) if frames is None else frames
        if frame.shape != frames.shape[1:]:
            sizes = sorted({frame.shape[:2], frames.shape[1:3]})
            shapes = ", ".join(f"{width} x {height}" for height, width in sizes)
            raise AdammsError(f"the video's frames differ in size: {shapes} pixels")
        frames[number] = frame
    if frames is None:
        raise AdammsError("the video has no frames")
    return Clip(frames, places, len(files), FPS)


def _of_file(file: Path, choose: Choose) -> Clip:
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise AdammsError(f"videos need the extra `video`: {install('video')}") from error
    with _explained(file):
        with _opened(file) as (container, stream):
            total, lasts = stream.frames, _seconds(container, stream)
            fps = float(stream.average_rate or FPS)
            clip = _chosen(container, stream, total, choose) if total else None
        if clip is None:  # containers do not say it, or count frames that are not shown
            with _opened(file) as (container, stream):
                count = sum(1 for _ in container.decode(stream))
            if count < (1 - CUT) * lasts * fps:
                raise AdammsError(f"it ends before frame {count + 1} of {total}")
            with _opened(file) as (container, stream):
                clip = _chosen(container, stream, count, choose) if count else None
        if clip is None:
            raise AdammsError("it has no frames")
        return clip


@contextmanager
def _opened(file: Path) -> Iterator[tuple[Any, Any]]:
    """PyAV's container and its first stream of pictures.

    Somebody else may have made the data. So a file is of a format that names no other files or addresses,
    and FFmpeg is given an open one and no name, which it takes for a protocol or a pattern of pictures.
    """
    import av

    formats = [ending for _, _, ending in BEGINNINGS[VIDEO]]
    allowed = {
        "format_whitelist": ",".join(DEMUXERS.get(ending, ending) for ending in formats),
        "protocol_whitelist": "file",
    }
    with ExitStack() as closing:
        content = closing.enter_context(file.open("rb"))
        nameless = SimpleNamespace(read=content.read, seek=content.seek, tell=content.tell)
        try:
            container = closing.enter_context(av.open(nameless, options=allowed))
        except av.error.ArgumentError as error:
            raise AdammsError(f"it is none of {', '.join(formats)}") from error
        if not container.streams.video:
            raise AdammsError("it has no pictures")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        yield container, stream


def _chosen(container: Any, stream: Any, total: int, choose: Choose) -> Clip | None:
    """The frames that are shown, from the beginning on; None where they are not all there."""
    fps = float(stream.average_rate or FPS)
    places = tuple(choose(total, fps))
    _room(len(places), stream.height, stream.width)  # before anything is decoded
    frames, filled = None, 0
    for place, frame in enumerate(container.decode(stream)):
        while filled < len(places) and places[filled] == place:
            # A turn of the camera that players undo.
            turned = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)
            frames = _room(len(places), *turned.shape[:2]) if frames is None else frames
            frames[filled] = turned
            filled += 1
        if filled == len(places):
            break
    return None if frames is None or filled < len(places) else Clip(frames, places, total, fps)


def _seconds(container: Any, stream: Any) -> float:
    """How long a video with a number of frames is to last; 0.0 where there is no number.

    MP4 and MOV have edit lists: frames that are counted and not shown.
    """
    if "mov" in container.format.name and stream.duration is not None:
        return float(stream.duration * stream.time_base) if stream.frames else 0.0
    return stream.frames / float(stream.average_rate or FPS)


def _room(count: int, height: int, width: int) -> np.ndarray:
    """An array for the frames.

    Raises:
        AdammsError: they are too much to hold.
    """
    if (size := count * height * width * 3) > MOST_BYTES:
        raise AdammsError(
            f"{count} frames of {width} x {height} pixels take {size / 1e9:.1f} GB, and a video may take "
            f"{MOST_BYTES / 1e9:.1f}: lower engine.video_frames"
        )
    return np.empty((count, height, width, 3), dtype=np.uint8)


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    """Errors name the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise AdammsError(f"video {shortened(str(file))}: no such file") from error
    except Exception as error:  # FFmpeg and processors have many kinds
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise AdammsError(f"video {shortened(str(file))} does not decode ({reason})") from error

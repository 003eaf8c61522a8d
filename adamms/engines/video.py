"""How a video is opened, for every engine, the check of the data, the report and W&B.

Knows nothing of examples. PyAV and transformers are imported when they are needed.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from adamms.data.example import Medium, Video
from adamms.engines.disturbance import changed
from adamms.engines.image import open_image
from adamms.errors import AdammsError, install, shortened

FPS = 24.0  # of frames that are given as pictures, and of files that do not say it: transformers' own value
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


def decoder() -> str:
    """What decodes videos, with its version; "" where it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"av {version('av')}"
    except PackageNotFoundError:
        return ""


def _of_pictures(files: Sequence[Path], choose: Choose) -> Clip:
    places = tuple(choose(len(files), FPS))
    frames = [np.asarray(open_image(files[place])) for place in places]
    if len(sizes := {frame.shape for frame in frames}) > 1:
        shapes = ", ".join(f"{width} x {height}" for height, width, _ in sorted(sizes))
        raise AdammsError(f"the video's frames differ in size: {shapes} pixels")
    return Clip(np.stack(frames), places, len(files), FPS)


def _of_file(file: Path, choose: Choose) -> Clip:
    try:
        import av
    except ImportError as error:
        raise AdammsError(f"videos need the extra `video`: {install('video')}") from error
    with _explained(file), av.open(str(file)) as container:
        if not container.streams.video:
            raise AdammsError("it has no pictures")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        # Some containers do not say it.
        total = stream.frames or sum(1 for _ in container.decode(stream))
        fps = float(stream.average_rate or FPS)
        places = tuple(choose(total, fps)) if total else ()
        if not places:
            raise AdammsError("it has no frames")
        wanted, frames = set(places), {}
        container.seek(0)
        for place, frame in enumerate(container.decode(stream)):
            if place in wanted:
                # A turn of the camera that players undo.
                turned = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)
                frames[place] = np.ascontiguousarray(turned)
            if place >= places[-1]:
                break
        if missing := wanted - frames.keys():
            raise AdammsError(f"it ends before frame {min(missing) + 1} of {total}")
        return Clip(np.stack([frames[place] for place in places]), places, total, fps)


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

"""Small videos, questions about them, and tiny models whose chat template has a place for one."""

import json
import shutil
from pathlib import Path
from typing import Any

import answering
import av
import numpy as np
from configured import configured
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_types import save_tiny

from adamms.data.example import Example, Video
from adamms.demo import language

# Model -> what its chat template writes for a video.
PLACES = {
    "target": language.VISION_START + language.TARGET_VIDEO + language.VISION_END,
    "donor": language.VISION_START + language.DONOR_VIDEO + language.VISION_END,
    "qwen3_vl": answering.START + answering.VIDEO + answering.END,
}


def film(
    file: Path, count: int = 12, size: tuple[int, int] = (48, 32), fps: int = 8, seed: int = 0, **stream: Any
) -> Path:
    """A video whose colours change from frame to frame; (width, height)."""
    rng = np.random.default_rng(seed)
    with av.open(str(file), "w") as container:
        out = container.add_stream("mpeg4", rate=fps, **stream)
        out.width, out.height, out.pix_fmt, out.bit_rate = *size, "yuv420p", 4_000_000
        for _ in range(count):
            blocks = rng.integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
            picture = np.kron(blocks, np.ones((8, 8, 1), dtype=np.uint8))
            container.mux(out.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(out.encode())
    return file


def frames(file: Path) -> np.ndarray:
    """All of them, as PyAV gives them: (frames, height, width, 3)."""
    with av.open(str(file)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def with_videos(folder: Path, to: Path, place: str) -> Path:
    """A copy of a model whose chat template writes `place` where a video goes."""
    shutil.copytree(folder, to)
    template = to / "chat_template.jinja"
    text, end = template.read_text(), "{% else %}{{ part['text'] }}"
    assert text.count(end) == 1
    template.write_text(text.replace(end, "{% elif part['type'] == 'video' %}" + place + end))
    return to


def filmed_models(talkative: Path, folder: Path) -> Path:
    """The models of PLACES: a Qwen2-VL, a LLaVA-OneVision, and a Qwen3-VL, which wants the frames' times."""
    for model in ("target", "donor"):
        with_videos(talkative / model, folder / model, PLACES[model])
    plain = answering.make_answerable(save_tiny("qwen3_vl", folder / "plain", 5))
    in_float32(with_videos(plain, folder / "qwen3_vl", PLACES["qwen3_vl"]))
    return folder


def in_float32(folder: Path) -> None:
    file = folder / "model.safetensors"
    save_file({n: t.float() for n, t in load_file(file).items()}, file, metadata={"format": "pt"})
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"bfloat16"', '"float32"'))
    assert json.loads(config.read_text())["dtype"] == "float32"


def asked(folder: Path) -> dict[str, Example]:
    """Questions about two videos, about frames that are pictures, about a video with an image, and others."""
    folder.mkdir()
    one, two = film(folder / "1.mp4"), film(folder / "2.mkv", count=15, fps=5, seed=1)
    image = configured("data/digits", folder=folder, per_task=1).load().examples[0].image
    pictures = tuple(folder / f"frame{number}.png" for number in range(5))
    for file, frame in zip(pictures, frames(one), strict=False):
        Image.fromarray(frame).save(file)
    question = "largest digit"
    examples = (
        Example("one", "t", question, video=Video((one,))),
        Example("two", "t", question, video=Video((two,))),
        Example("still", "t", question, image),
        Example("placed", "t", "largest <video> digit <image>", image, video=Video((one,))),
        Example("frames", "t", question, video=Video(pictures, of_frames=True)),
        Example("text", "t", question),
    )
    return {example.id: example for example in examples}

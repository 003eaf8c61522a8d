"""Videos: which frames are seen of a file and of pictures, how they are checked, named and disturbed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from films import film, frames, with_videos
from PIL import Image
from transformers import (
    AutoProcessor,
    Glm4vVideoProcessor,
    InternVLVideoProcessor,
    LlavaOnevisionVideoProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLVideoProcessor,
)
from transformers.video_utils import VideoMetadata

from adamms.data.example import Example, Video
from adamms.demo import language
from adamms.demo.models import donor_processor, target_processor
from adamms.engines import digest, video
from adamms.engines.askable import check_askable, check_images
from adamms.engines.base import Limits
from adamms.engines.digest import example_digest
from adamms.engines.disturbance import disturbed
from adamms.engines.prompt import load_processor
from adamms.engines.video import open_video, sampled, shown
from adamms.errors import AdammsError


class Holder:
    """What `sampled` knows of a processor."""

    def __init__(self, own: Any) -> None:
        self.video_processor = own


def every(total: int, fps: float) -> range:
    return range(total)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi", "mov"])
def test_the_frames_are_those_that_pyav_decodes(tmp_path: Path, ending: str) -> None:
    file = film(tmp_path / f"a.{ending}", count=7, fps=5)
    clip = open_video(Video((file,)), lambda total, fps: (0, 3, 6))
    assert (clip.total, clip.fps, clip.places) == (7, 5.0, (0, 3, 6))
    assert np.array_equal(clip.frames, frames(file)[[0, 3, 6]])
    assert np.array_equal(np.asarray(shown(Video((file,)))), frames(file)[0])


def test_frames_as_pictures(tmp_path: Path) -> None:
    pictures = [picture(tmp_path / f"{n}.png", n) for n in range(5)]
    clip = open_video(Video(tuple(pictures), of_frames=True), lambda total, fps: (1, 4))
    assert (clip.total, clip.fps, clip.places) == (5, video.FPS, (1, 4))
    assert [int(frame[0, 0, 0]) for frame in clip.frames] == [10, 40]
    assert shown(Video(tuple(pictures[3:]), of_frames=True)).getpixel((0, 0)) == (30, 30, 30)
    odd = (*pictures, picture(tmp_path / "odd.png", 1, (8, 8)))
    with pytest.raises(AdammsError, match="frames differ in size: 8 x 8, 16 x 12 pixels"):
        open_video(Video(odd, of_frames=True), every)


def picture(file: Path, shade: int, size: tuple[int, int] = (16, 12)) -> Path:
    Image.new("RGB", size, (shade * 10,) * 3).save(file)
    return file


def test_a_turned_video_is_upright(tmp_path: Path) -> None:
    """The matrix of the track's header says that players turn it by 90 degrees clockwise."""
    plain = film(tmp_path / "a.mp4", count=2)
    content = bytearray(plain.read_bytes())
    matrix = content.index(b"tkhd") + 44
    assert content[matrix : matrix + 36] == turn(1, 0, 0, 1)
    content[matrix : matrix + 36] = turn(0, 1, -1, 0)
    (tmp_path / "turned.mp4").write_bytes(content)
    clip = open_video(Video((tmp_path / "turned.mp4",)), every)
    assert np.array_equal(clip.frames, np.rot90(frames(plain), -1, axes=(1, 2)))


def turn(*entries: int) -> bytes:
    a, b, c, d = (entry << 16 for entry in entries)
    return b"".join(n.to_bytes(4, "big", signed=True) for n in (a, b, 0, c, d, 0, 0, 0, 1 << 30))


@pytest.mark.parametrize(
    ("own", "most", "options"),
    [
        (Qwen2VLVideoProcessor(), 6, {"num_frames": 6}),
        (InternVLVideoProcessor(), 5, {"num_frames": 5}),
        (LlavaOnevisionVideoProcessor(), 5, {"num_frames": 5}),
        (Qwen3VLVideoProcessor(), 6, {"num_frames": 6, "fps": None}),
        (Qwen3VLVideoProcessor(), None, {}),
        (Glm4vVideoProcessor(), None, {}),
    ],
)
def test_a_processor_chooses_as_it_does_by_itself(
    own: Any, most: int | None, options: dict[str, Any]
) -> None:
    metadata = VideoMetadata(total_num_frames=90, fps=10.0, duration=9.0)
    expected = [int(place) for place in own.sample_frames(metadata=metadata, **options)]
    assert list(sampled(Holder(own), most)(90, 10.0)) == expected
    assert 1 < len(set(expected)) < 90


def test_short_videos_and_processors_that_know_no_number() -> None:
    assert list(sampled(Holder(Qwen2VLVideoProcessor()), 16)(9, 5.0)) == list(range(9))
    assert list(sampled(Holder(Qwen2VLVideoProcessor()), None)(50, 5.0)) == list(range(50))  # takes all
    by_rate = sampled(Holder(Glm4vVideoProcessor()), 4)(90, 10.0)  # 2 in a second
    assert list(by_rate) == [0, 20, 45, 65]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A processor of Qwen2-VL with a place for videos."""
    folder = tmp_path_factory.mktemp("processors")
    target_processor().save_pretrained(folder / "plain")
    place = language.VISION_START + language.TARGET_VIDEO + language.VISION_END
    return load_processor(with_videos(folder / "plain", folder / "filmed", place))


def about(clip: Video | None, question: str = "largest digit") -> Example:
    return Example("7", "t", question, where="q.jsonl, line 7", video=clip)


def test_what_can_be_asked_is_told_before_any_weight_is_read(target: Any, tmp_path: Path) -> None:
    good = about(Video((film(tmp_path / "a.mp4"),)))
    advanced: list[int] = []
    check_askable("A", target, [good, about(None)], advanced.append, Limits(frames=4))
    assert advanced == [1, 1]
    (tmp_path / "bad.mp4").write_text("no video")
    donor_processor().save_pretrained(tmp_path / "donor")
    plain, without = (load_processor(tmp_path / "donor") for _ in range(2))
    without.video_processor = None
    thin = about(Video((film(tmp_path / "thin.mp4", size=(3200, 8)),)))
    for example, processor, limits, message in (
        (
            about(Video((tmp_path / "bad.mp4",))),
            target,
            Limits(),
            r"line 7: video .*bad\.mp4 does not decode",
        ),
        (
            thin,
            target,
            Limits(frames=4),
            r"line 7: .*refuses the prompt with a video of 4 frames of 3200 x 8",
        ),
        (good, target, Limits(videos=0), r"line 7: .*a prompt may have none: engine\.videos_per_prompt=1"),
        (good, plain, Limits(), r"line 7: .*chat template has no place.*\"images\": \["),
        (
            replace(good, question="Is it in <video>?"),
            plain,
            Limits(),
            r"line 7: .*chat template has no place",
        ),
        (
            replace(good, question="Is <image> in <video>?", image=picture(tmp_path / "a.png", 1, (56, 56))),
            plain,
            Limits(),
            r"line 7: .*chat template has no place",
        ),
        (good, without, Limits(videos=0), r"A cannot .*\n.*line 7: .*no part for videos\. Give its frames"),
    ):
        with pytest.raises(AdammsError, match=message):
            check_askable("A", processor, [example], advanced.append, limits)
    with pytest.raises(AdammsError, match=r"line 7: video .*bad\.mp4 does not decode"):
        check_images([good, about(Video((tmp_path / "bad.mp4",)))], advanced.append)


def test_a_template_that_refuses_videos_refuses_no_images(target: Any, tmp_path: Path) -> None:
    strict = load_processor(Path(target.template_renderer.where))
    place = "{% elif part['type'] == 'video' %}"
    assert strict.chat_template.count(place) == 1
    strict.chat_template = strict.chat_template.replace(place, place + "{{ raise_exception('no films') }}")
    still = replace(about(None), image=picture(tmp_path / "a.png", 1, (56, 56)))
    check_askable("A", strict, [still, about(None)], lambda count: None)
    with pytest.raises(AdammsError, match=r"line 7: .*no films"):
        check_askable("A", strict, [about(Video((film(tmp_path / "a.mp4"),)))], lambda count: None)


def test_the_digest_counts_content_sampling_and_disturbance(tmp_path: Path) -> None:
    one, other = film(tmp_path / "1.mp4"), film(tmp_path / "2.mp4", seed=1)
    copied = tmp_path / "copy.mp4"
    copied.write_bytes(one.read_bytes())
    example = about(Video((one,)))
    assert example_digest(example, "4 frames") == example_digest(about(Video((copied,))), "4 frames")
    pictures = tuple(picture(tmp_path / f"{n}.png", n) for n in range(3))
    different = [
        example_digest(example, "4 frames"),
        example_digest(example, "8 frames"),
        example_digest(about(Video((other,))), "4 frames"),
        example_digest(disturbed(example, tmp_path), "4 frames"),
        example_digest(replace(example, image=pictures[0]), "4 frames"),
        example_digest(about(Video(pictures, of_frames=True)), "4 frames"),
        example_digest(about(Video(pictures[::-1], of_frames=True)), "4 frames"),
        example_digest(Example("7", "t", "largest digit", pictures[0], more_images=pictures[1:]), "4 frames"),
    ]
    assert len(set(different)) == len(different)
    with pytest.raises(AdammsError, match=r"video .*none\.mp4: No such file"):
        example_digest(about(Video((tmp_path / "none.mp4",))))


def test_only_files_depend_on_what_decodes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = about(Video((film(tmp_path / "1.mp4"),)))
    pictures = about(Video((picture(tmp_path / "1.png", 1), picture(tmp_path / "2.png", 2)), of_frames=True))
    before = [example_digest(example, "4 frames") for example in (file, pictures)]
    monkeypatch.setattr(digest, "version", lambda name: f"another {name}")
    after = [example_digest(example, "4 frames") for example in (file, pictures)]
    assert before[0] != after[0]
    assert before[1] == after[1]


def test_a_disturbed_video_is_a_little_different_and_always_the_same(tmp_path: Path) -> None:
    example = about(Video((film(tmp_path / "1.mp4"),)))
    changed = disturbed(example, tmp_path / "out")
    assert changed == disturbed(example, tmp_path / "out") != example
    assert not (tmp_path / "out").exists()  # it is changed when it is opened
    assert changed.video is not None
    assert example.video is not None
    one, again = (open_video(changed.video, every).frames for _ in range(2))
    plain = open_video(example.video, every).frames
    assert np.array_equal(one, again)
    assert one.shape == plain.shape
    assert 1 < np.abs(one.astype(int) - plain).mean() < 60
    assert not np.array_equal(
        one[0].astype(int) - plain[0], one[1].astype(int) - plain[1]
    )  # noise of its own
    still = disturbed(replace(example, image=picture(tmp_path / "a.png", 9)), tmp_path / "out")
    assert still.video == changed.video
    assert still.image != tmp_path / "a.png"


def test_a_saved_processor_still_has_its_video_part(target: Any) -> None:
    """`with_videos` changes the template alone."""
    assert isinstance(target, type(AutoProcessor.from_pretrained(target.template_renderer.where)))
    assert isinstance(target.video_processor, Qwen2VLVideoProcessor)

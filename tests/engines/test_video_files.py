"""Files of videos: what is opened of a data set, which frames a container has, and how much is held."""

from pathlib import Path

import av
import numpy as np
import pytest
from films import film, frames
from PIL import Image

from adamms.data.example import Video
from adamms.engines import video
from adamms.engines.video import open_video
from adamms.errors import AdammsError


def every(total: int, fps: float) -> range:
    return range(total)


def picture(file: Path, shade: int) -> Path:
    Image.new("RGB", (48, 32), (shade * 10,) * 3).save(file)
    return file


def test_what_does_not_decode_is_told(tmp_path: Path) -> None:
    whole = film(tmp_path / "whole.mp4", count=30).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    avi = film(tmp_path / "whole.avi", count=30).read_bytes()
    (tmp_path / "cut.avi").write_bytes(avi[: len(avi) // 2])
    reasons = {
        "cut.mp4": r"cut\.mp4 does not decode \(.+\)",
        "cut.avi": r"cut\.avi does not decode \(it ends before frame \d+ of 30\)",
        "text.mp4": r"text\.mp4 does not decode \(Invalid data",
        "empty.mp4": r"empty\.mp4 does not decode",
        "none.mp4": r"video .*none\.mp4: no such file",
    }
    for name, reason in reasons.items():
        with pytest.raises(AdammsError, match=reason):
            open_video(Video((tmp_path / name,)), every)


def test_a_video_of_a_data_set_opens_no_other_file(tmp_path: Path) -> None:
    """FFmpeg's playlists, scripts and patterns name files and addresses."""
    whole = film(tmp_path / "whole.mp4", count=3)
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{whole}\n#EXT-X-ENDLIST\n"
    for name, text in (
        ("list.mp4", playlist),
        ("list.m3u8", playlist),
        ("script.mp4", f"ffconcat version 1.0\nfile {whole.name}\n"),
        ("script.ffconcat", f"ffconcat version 1.0\nfile {whole.name}\n"),
        ("streams.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(AdammsError, match=rf"video .*{name} does not decode"):
            open_video(Video((tmp_path / name,)), every)
    with pytest.raises(AdammsError, match=r"script\.mp4 does not decode \(it is none of mp4, mkv, "):
        open_video(Video((tmp_path / "script.mp4",)), every)


@pytest.mark.parametrize("name", ["a%d.jpg", "a%03d.png", "pipe:0", "concat:whole.mp4|whole.mp4"])
def test_a_name_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Neither a pattern of pictures nor a protocol."""
    whole = film(tmp_path / "whole.mp4", count=3)
    for other in ("a0.jpg", "a000.png"):
        picture(tmp_path / other, 1)
    (tmp_path / name).write_bytes(whole.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert np.array_equal(open_video(Video((Path(name),)), every).frames, frames(whole))


def test_frames_that_a_container_counts_and_does_not_show(tmp_path: Path) -> None:
    """An edit list: what lies before it is decoded, not shown, and counted."""
    whole = film(tmp_path / "whole.mp4", count=30)
    with av.open(str(whole)) as source, av.open(str(tmp_path / "later.mp4"), "w") as to:
        stream = source.streams.video[0]
        copy = to.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.pts -= (shift := int(10 / 8 / packet.time_base))
                packet.dts -= shift
                packet.stream = copy
                to.mux(packet)
    with av.open(str(tmp_path / "later.mp4")) as container:
        assert container.streams.video[0].frames == 30
    clip = open_video(Video((tmp_path / "later.mp4",)), lambda total, fps: (0, total - 1))
    assert (clip.total, clip.places) == (20, (0, 19))
    assert np.array_equal(clip.frames, frames(whole)[[10, 29]])


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts", "mpg", "wmv"])
def test_time_that_does_not_begin_at_0(tmp_path: Path, ending: str) -> None:
    whole = film(tmp_path / f"whole.{ending}", count=9)
    assert np.array_equal(
        open_video(Video((whole,)), lambda total, fps: (0, 8)).frames, frames(whole)[[0, 8]]
    )


def test_what_is_too_much_to_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Video((film(tmp_path / "a.mp4", count=6),))
    pictures = Video(tuple(picture(tmp_path / f"{n}.png", n) for n in range(6)), of_frames=True)
    monkeypatch.setattr(video, "MOST_BYTES", 5 * 48 * 32 * 3)
    for big in (one, pictures):
        assert len(open_video(big, lambda total, fps: range(5)).frames) == 5
        with pytest.raises(AdammsError, match=r"6 frames of 48 x 32 .* GB.*: lower engine\.video_frames"):
            open_video(big, every)


@pytest.mark.parametrize(
    ("codec", "pixels", "size"),
    [
        ("ffv1", "yuv420p", (50, 35)),
        ("ffv1", "gray", (33, 17)),
        ("ffv1", "yuv420p10le", (48, 32)),
        ("ffv1", "bgr0", (31, 31)),
        ("gif", "rgb8", (33, 17)),
    ],
)
def test_sizes_and_pixels_of_every_kind(
    tmp_path: Path, codec: str, pixels: str, size: tuple[int, int]
) -> None:
    """Widths that are no multiple of what a line is padded to, grey, and 10 bits."""
    file, (width, height) = tmp_path / ("a.gif" if codec == "gif" else "a.mkv"), size
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    grey = ((across + down) / 2).astype(np.uint8)
    with av.open(str(file), "w") as container:
        out = container.add_stream(codec, rate=5)
        out.width, out.height, out.pix_fmt = width, height, pixels
        for shade in (grey, grey[::-1, ::-1]):
            picture = np.ascontiguousarray(np.stack([shade] * 3, axis=-1))
            container.mux(out.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(out.encode())
    clip = open_video(Video((file,)), every)
    assert clip.frames.shape == (2, height, width, 3)
    wrong = np.abs(clip.frames.astype(int) - np.stack([grey, grey[::-1, ::-1]])[..., None])
    assert wrong.mean() < (20 if codec == "gif" else 2)

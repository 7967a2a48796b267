"""The video decoders, tried on a small video that is written and read."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from vidjax.doctor import packages
from vidjax.doctor.child import run_in_child
from vidjax.doctor.findings import OK, PROBLEM, WARNING, Finding
from vidjax.errors import DataError

# Decoders of PyAV by format; FFmpeg's own one of AV1 works on some GPUs only.
_DECODERS = {
    "H.264": ("h264",),
    "HEVC": ("hevc",),
    "MPEG-4": ("mpeg4",),
    "VP9": ("vp9", "libvpx-vp9"),
    "AV1": ("libdav1d", "libaom-av1"),
    "MJPEG": ("mjpeg",),
}
_GRAY_LEVELS = (40, 120, 200)  # of the frames of the video that decoders are tried on


def check_decoders(seconds: float) -> Iterator[Finding]:
    if packages.installed_version("av") is None:
        yield Finding("decoders", "PyAV", PROBLEM, "no video can be read without av")
        return
    with tempfile.TemporaryDirectory(prefix="vidjax-doctor-", ignore_cleanup_errors=True) as folder:
        video = os.path.join(folder, "grays.avi")
        found, failure = run_in_child(try_pyav, [video], seconds)
        if not found or failure:
            yield Finding(
                "decoders",
                "PyAV",
                PROBLEM,
                f"does not work: {failure or 'no answer'}",
                packages.installed_version("av"),
            )
            return
        libraries, missing = found[0]["libraries"], found[0]["missing"]
        there = [name for name in _DECODERS if name not in missing]
        text = f"reads back what it wrote; {libraries}; {', '.join(there)}"
        yield Finding("decoders", "PyAV", OK, text, packages.installed_version("av"))
        if missing:
            text = f"has no decoder of {', '.join(missing)}: such files are refused"
            yield Finding("decoders", "PyAV", WARNING, text, packages.installed_version("av"))
        name = next((name for name in packages.ALTERNATIVES if packages.installed_version(name)), None)
        if name is None:
            yield Finding(
                "decoders", "decord", PROBLEM, f"is missing; the embedded data set needs it: {packages.INSTALL}"
            )
            return
        found, failure = run_in_child(try_decord, [video], seconds)
        if found and not failure:
            yield Finding("decoders", name, OK, "reads it, too", packages.installed_version(name))
        else:
            yield Finding(
                "decoders", name, PROBLEM, f"does not work: {failure or 'no answer'}", packages.installed_version(name)
            )


def try_pyav(path: str) -> Iterator[dict[str, Any]]:
    """Writes a small video to this path and reads it, in this process; yields libraries and missing decoders.

    Raises:
      DataError: if it reads something else.
    """
    import av
    import numpy as np
    from av import library_versions

    with av.open(path, "w") as container:
        stream: Any = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for gray in _GRAY_LEVELS:
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), gray, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(path) as container:
        _check_gray_levels([frame.to_ndarray(format="rgb24").mean() for frame in container.decode(video=0)])
    missing = [name for name, decoders in _DECODERS.items() if not any(map(_has_decoder, decoders))]
    libraries = {name: ".".join(map(str, version)) for name, version in library_versions.items()}
    yield {
        "libraries": ", ".join(f"{name} {libraries[name]}" for name in ("libavcodec", "libavformat", "libswscale")),
        "missing": missing,
    }


def _has_decoder(name: str) -> bool:
    import av

    try:
        av.codec.Codec(name, "r")
    except ValueError:  # av.codec.codec.UnknownCodecError
        return False
    return True


def try_decord(path: str) -> Iterator[bool]:
    """Reads the video that `try_pyav` wrote, in this process.

    Raises:
      DataError: if it reads something else.
    """
    import decord

    reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1)
    _check_gray_levels([frame.mean() for frame in reader.get_batch(list(range(len(reader)))).asnumpy()])
    yield True


def _check_gray_levels(means: Sequence[float]) -> None:
    if len(means) != len(_GRAY_LEVELS) or any(abs(mean - gray) > 3 for mean, gray in zip(means, _GRAY_LEVELS)):
        shown = ", ".join(f"{mean:.0f}" for mean in means)
        raise DataError(f"frames of gray {', '.join(map(str, _GRAY_LEVELS))} were read as {shown or 'none'}")

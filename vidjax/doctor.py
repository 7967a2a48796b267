"""Whether this machine has what vidjax needs: packages, devices, caches, decoders.

It must answer where a package is missing or broken, so it imports nothing but the standard library; what may crash or
hang, such as the driver of an accelerator, runs in a process of its own, with a time limit.
"""

import contextlib
import dataclasses
import glob
import importlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from vidjax.errors import DataError
from vidjax.system.paths import cache_dir

OK, WARNING, PROBLEM = "ok", "warning", "problem"
OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)  # that were tested
_ROOT = Path(__file__).parent.parent  # of the checkout; in an installation, of all packages
_INSTALL = "pip install -r requirements.txt"
# What is imported of a package, where that is not its name: the part that needs what it was compiled for.
_IMPORTS = {
    "absl-py": "absl.flags",
    "array-record": "array_record.python.array_record_module",
    "decord2": "decord",
    "orbax-checkpoint": "orbax.checkpoint",
    "pillow": "PIL.Image",
    "scikit-learn": "sklearn.datasets",
    "scipy": "scipy.stats",
}
# Either is imported as decord.
_ALTERNATIVES = {"decord": "decord2", "decord2": "decord"}
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
# Packages of which only one may be installed, and why.
_ONE_OF = (
    (
        ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
        "all of them write the folder cv2, and overwrite each other's files",
    ),
    (("decord", "decord2"), "both write the folder decord, and overwrite each other's files"),
    (("jax-cuda12-plugin", "jax-cuda13-plugin"), "both are the back end `cuda`, which JAX can load once"),
)
_DRIVER_OF_CUDA_13 = 580
_SMI_SECONDS = 20.0


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
      section: "python", "packages", "devices", "caches", "decoders" or "combinations".
      name: of the thing.
      status: "ok"; "warning" for what may go wrong; "problem" for what is needed and missing or broken.
      text: what was found and, unless all is well, what to do.
      version: installed; None where there is none.
      tested: range of versions, as in requirements.txt; None where there is none.
    """

    section: str
    name: str
    status: str
    text: str
    version: str | None = None
    tested: str | None = None


def examine(seconds: float) -> Iterator[Finding]:
    """Looks at everything, section by section.

    Args:
      seconds: how long a process may take that imports a package, starts the devices or decodes a video.
    """
    yield _python()
    yield from _packages(seconds)
    yield from _devices(seconds)
    yield from _caches()
    yield from _decoders(seconds)
    yield from _combinations()


# ------------------------------------------------------------------------------------------------ interpreter, packages


def _python() -> Finding:
    version, machine = platform.python_version(), f"{platform.python_implementation()} on {platform.platform()}"
    tested = "{}.{} to {}.{}".format(*OLDEST_PYTHON, *NEWEST_PYTHON)
    status = OK if OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON else WARNING
    if sys.version_info[:2] < OLDEST_PYTHON:
        status = PROBLEM
    return Finding("python", "Python", status, machine, version, tested)


def _requirements() -> list[str]:
    """What is needed, line by line: of requirements.txt in a checkout, else what the installed package says of itself.

    Raises:
      DataError: if neither is there.
    """
    file = _ROOT / "requirements.txt"
    try:
        # Next to installed packages there may be anything by that name.
        if file.is_file() and (_ROOT / "pyproject.toml").is_file():
            lines = [line.partition("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines()]
        else:
            lines = importlib.metadata.requires("vidjax") or []
    except (OSError, importlib.metadata.PackageNotFoundError) as error:
        raise DataError(f"what vidjax requires is not known: {error}") from error
    return [line for line in lines if line]


def _packages(seconds: float) -> Iterator[Finding]:
    try:
        lines = _requirements()
    except DataError as error:
        yield Finding("packages", "vidjax", PROBLEM, str(error))
        return
    try:
        from packaging.requirements import Requirement
    except ImportError:
        # Which versions fit, and what belongs to other machines, cannot be told without it.
        names = [match[0] for line in lines if ";" not in line and (match := re.match(r"[\w.-]+", line))]
        for name in names:
            if _version(name) is None:
                yield Finding("packages", name, PROBLEM, f"missing: {_INSTALL}")
        return
    requirements = [Requirement(line) for line in lines]
    requirements = [each for each in requirements if not each.marker or each.marker.evaluate()]
    installed = {}
    for requirement in requirements:
        name = requirement.name
        if _version(name) is None and _version(_ALTERNATIVES.get(name, name)) is not None:
            yield Finding(
                "packages", name, OK, f"{_ALTERNATIVES[name]} is there instead", _version(_ALTERNATIVES[name])
            )
        elif (version := _version(name)) is None:
            yield Finding("packages", name, PROBLEM, f"missing: {_INSTALL}", None, str(requirement.specifier))
        else:
            installed[name] = (requirement, version)
    modules = {name: _IMPORTS.get(name, name.replace("-", "_")) for name in installed}
    if len(installed) == len(requirements):
        modules["vidjax"] = "vidjax.train"  # with all that it imports
    errors = _import_errors(list(modules.values()), seconds)
    for name, (requirement, version) in installed.items():
        yield _package(requirement, version, errors[modules[name]])
    if "vidjax" in modules and errors["vidjax.train"] and not any(errors[modules[name]] for name in installed):
        yield Finding("packages", "vidjax", PROBLEM, f"does not work with these packages: {errors['vidjax.train']}")


def _package(requirement: Any, version: str, error: str | None) -> Finding:
    name, tested = requirement.name, str(requirement.specifier)
    if error is not None:
        return Finding("packages", name, PROBLEM, f"{version} cannot be imported: {error}", version, tested)
    if requirement.specifier.contains(version, prereleases=True):
        return Finding("packages", name, OK, version, version, tested)
    from packaging.version import Version

    lowest = [Version(each.version) for each in requirement.specifier if each.operator in (">=", ">", "==", "~=")]
    side = "older" if any(Version(version) < bound for bound in lowest) else "newer"
    return Finding("packages", name, WARNING, f"{version} is {side} than what was tested ({tested})", version, tested)


def _version(name: str) -> str | None:
    try:
        # Of a package that was removed by hand there may be a folder without metadata.
        return importlib.metadata.version(name) or None
    except (importlib.metadata.PackageNotFoundError, KeyError, TypeError, OSError):
        return None


def _import_errors(modules: Sequence[str], seconds: float) -> dict[str, str | None]:
    """Why each module cannot be imported; None where it can."""
    errors: dict[str, str | None] = {}
    while left := [module for module in modules if module not in errors]:
        lines, failure = _in_child("import_each", [left], seconds * 2)
        errors |= {left[number]: line for number, line in enumerate(lines[: len(left)])}
        if len(lines) < len(left):  # the process ended within the next one
            errors[left[len(lines)]] = failure or "its import ended the process"
    return errors


def import_each(modules: Sequence[str]) -> Iterator[str | None]:
    """Imports modules, in this process; yields of each the error, or None."""
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:  # also those of broken packages, of any kind
            yield _line(error)
        else:
            yield None


# ------------------------------------------------------------------------------------------------------------- devices


def _devices(seconds: float) -> Iterator[Finding]:
    gpus, driver = _nvidia()
    asked = os.environ.get("JAX_PLATFORMS") or os.environ.get("JAX_PLATFORM_NAME")
    if _version("jax") is None:
        yield Finding("devices", "JAX", PROBLEM, "no devices without jax")
        return
    found, failure = _in_child("start_devices", [], seconds)
    if not found or failure:
        hint = f"; JAX_PLATFORMS={asked} asks for what is not here, or for a plug-in that is not" if asked else ""
        yield Finding("devices", "JAX", PROBLEM, f"does not start: {failure or 'no answer'}{hint}")
    else:
        backend, kinds, complaints = (found[0][key] for key in ("backend", "kinds", "complaints"))
        counted = ", ".join(f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds))
        cores = f", {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores"
        text = f"{backend}: {counted}{cores if backend == 'cpu' else ''}; jaxlib {_version('jaxlib')}"
        told = f", as JAX_PLATFORMS={asked} asks for" if asked else ""
        yield Finding("devices", "JAX", OK, f"{text}{told}", _version("jax"))
        for complaint in complaints:
            if "NVIDIA GPU may be present" not in complaint:  # which is told below
                yield Finding("devices", "JAX", WARNING, f"JAX says: {complaint}")
        if gpus and backend == "cpu" and not asked:
            yield Finding("devices", "GPU", WARNING, f"{gpus}, but JAX computes on the CPU: {_advice(driver)}")
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if gpus and hidden is not None:
        yield Finding("devices", "GPU", OK, f"CUDA_VISIBLE_DEVICES={hidden}")


def _advice(driver: int | None) -> str:
    plugins = [name for name in ("jax-cuda13-plugin", "jax-cuda12-plugin") if _version(name)]
    if plugins:
        return f"{' and '.join(plugins)} cannot be used; see what JAX says, and the driver's version"
    if driver is not None and driver < _DRIVER_OF_CUDA_13:
        return f"pip install -r requirements-cuda12.txt (driver {driver} is too old for CUDA 13)"
    return "pip install -r requirements-cuda.txt"


def _nvidia() -> tuple[str, int | None]:
    """What NVIDIA GPUs there are, "" for none, and the main number of their driver, where it is known."""
    devices = glob.glob("/dev/nvidia[0-9]*") + glob.glob("/dev/dxg")  # the latter on Windows' Linux
    smi = shutil.which("nvidia-smi")
    text = ""
    if smi:
        query = [smi, "--query-gpu=name,driver_version", "--format=csv,noheader"]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            text = subprocess.run(query, capture_output=True, text=True, timeout=_SMI_SECONDS, check=True).stdout
    rows = [line.rsplit(", ", 1) for line in text.splitlines() if ", " in line]
    if rows:
        name, driver = rows[0]
        number = re.match(r"\d+", driver)
        return f"{len(rows)} x {name} (driver {driver}) is here", int(number[0]) if number else None
    return (f"{len(devices)} NVIDIA GPU(s) are here" if devices else ""), None


def start_devices() -> Iterator[dict[str, Any]]:
    """Starts JAX's devices and computes on them, in this process; yields what they are and what JAX complains of."""
    import logging
    import warnings

    complaints: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            complaints.append(_first_line(record.getMessage()))

    logging.getLogger("jax").addHandler(Handler(logging.WARNING))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import jax

        for device in jax.local_devices():
            jax.block_until_ready(jax.device_put(1.0, device) + 1.0)
    complaints += [_first_line(str(each.message)) for each in caught if issubclass(each.category, RuntimeWarning)]
    kinds = [device.device_kind for device in jax.devices()]
    yield {"backend": jax.default_backend(), "kinds": kinds, "complaints": list(dict.fromkeys(complaints))}


# -------------------------------------------------------------------------------------------------------------- caches


def _caches() -> Iterator[Finding]:
    folder = cache_dir()
    place = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    advice = "VIDJAX_CACHE=FOLDER chooses another folder"
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"vidjax")
        free = shutil.disk_usage(place).free
    except OSError as error:
        yield Finding("caches", str(folder), PROBLEM, f"cannot be written ({error.strerror or error}): {advice}")
        return
    parts = {part: _size(folder / part) for part in ("compiled", "index", "motion", "videos")}
    held = ", ".join(f"{part} {_bytes(size)}" for part, size in parts.items() if size) or "empty"
    yield Finding("caches", str(folder), OK, f"writable; {held}; {_bytes(free)} free on that disk")
    if chosen := os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        yield Finding("caches", chosen, OK, f"compiled programs (JAX_COMPILATION_CACHE_DIR), {_bytes(_size(chosen))}")


def _size(folder: str | Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(parent, name), follow_symlinks=False).st_size
    return total


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


# ------------------------------------------------------------------------------------------------------------ decoders


def _decoders(seconds: float) -> Iterator[Finding]:
    if _version("av") is None:
        yield Finding("decoders", "PyAV", PROBLEM, "no video can be read without av")
        return
    with tempfile.TemporaryDirectory(prefix="vidjax-doctor-", ignore_cleanup_errors=True) as folder:
        video = os.path.join(folder, "greys.avi")
        found, failure = _in_child("try_pyav", [video], seconds)
        if not found or failure:
            yield Finding("decoders", "PyAV", PROBLEM, f"does not work: {failure or 'no answer'}", _version("av"))
            return
        libraries, missing = found[0]["libraries"], found[0]["missing"]
        there = [name for name in _DECODERS if name not in missing]
        text = f"reads back what it wrote; {libraries}; {', '.join(there)}"
        yield Finding("decoders", "PyAV", OK, text, _version("av"))
        if missing:
            text = f"has no decoder of {', '.join(missing)}: such files are refused"
            yield Finding("decoders", "PyAV", WARNING, text, _version("av"))
        name = next((name for name in _ALTERNATIVES if _version(name)), None)
        if name is None:
            yield Finding("decoders", "decord", PROBLEM, f"is missing; the embedded data set needs it: {_INSTALL}")
            return
        found, failure = _in_child("try_decord", [video], seconds)
        if found and not failure:
            yield Finding("decoders", name, OK, "reads it, too", _version(name))
        else:
            yield Finding("decoders", name, PROBLEM, f"does not work: {failure or 'no answer'}", _version(name))


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
        for grey in _GRAY_LEVELS:
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), grey, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(path) as container:
        _check_greys([frame.to_ndarray(format="rgb24").mean() for frame in container.decode(video=0)])
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
    _check_greys([frame.mean() for frame in reader.get_batch(list(range(len(reader)))).asnumpy()])
    yield True


def _check_greys(means: Sequence[float]) -> None:
    if len(means) != len(_GRAY_LEVELS) or any(abs(mean - grey) > 3 for mean, grey in zip(means, _GRAY_LEVELS)):
        shown = ", ".join(f"{mean:.0f}" for mean in means)
        raise DataError(f"frames of grey {', '.join(map(str, _GRAY_LEVELS))} were read as {shown or 'none'}")


# -------------------------------------------------------------------------------------------------------- combinations


def _combinations() -> Iterator[Finding]:
    for names, why in _ONE_OF:
        there = [name for name in names if _version(name)]
        if len(there) > 1:
            yield Finding("combinations", there[0], WARNING, f"{' and '.join(there)}: {why}. Uninstall all, keep one")
    lib = _version("jaxlib")
    for name in ("jax-cuda12-plugin", "jax-cuda13-plugin"):
        if (version := _version(name)) and version != lib:
            text = f"{version} does not fit jaxlib {lib}, and JAX leaves it unused: install the GPU's requirements anew"
            yield Finding("combinations", name, WARNING, text, version)
    yield from _unmet_requirements()


def _unmet_requirements() -> Iterator[Finding]:
    """What any installed package requires of another that is there in a version that does not fit."""
    try:
        from packaging.requirements import InvalidRequirement, Requirement
        from packaging.utils import canonicalize_name
    except ImportError:
        return
    try:
        required = {canonicalize_name(Requirement(line).name) for line in _requirements()} | {"jaxlib"}
    except DataError:
        return
    for distribution in importlib.metadata.distributions():
        for line in distribution.requires or ():
            with contextlib.suppress(InvalidRequirement):
                requirement = Requirement(line)
                if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
                    continue
                version = _version(requirement.name)
                if version is None or requirement.specifier.contains(version, prereleases=True):
                    continue
                who = distribution.metadata["Name"]
                if canonicalize_name(who) == "vidjax" or canonicalize_name(requirement.name) not in required:
                    continue
                text = f"{who} {distribution.version} asks for {requirement.name}{requirement.specifier}"
                yield Finding("combinations", requirement.name, WARNING, f"{text}, and {version} is here", version)


# ----------------------------------------------------------------------------------------------------- child processes


def _in_child(function: str, arguments: list[Any], seconds: float) -> tuple[list[Any], str | None]:
    """Calls a function of this module in a process of its own.

    Returns:
      What it yielded, and why it did not come to its end; None if it did.
    """
    call = f"from vidjax import doctor; doctor.answer({function!r}, {json.dumps(json.dumps(arguments))})"
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    # Another program may be computing on the same GPU, of which JAX would take three quarters.
    environment = {**os.environ, "PYTHONPATH": path, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            [sys.executable, "-c", call],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=complaints,
            env=environment,
            start_new_session=True,
        )
        try:
            status: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(1.0)  # no longer: what hangs in a driver may not end at all
        answers = [json.loads(line) for line in _lines(said) if line.startswith("{")]
        complaint = next((line for line in reversed(_lines(complaints)) if line.strip()), "")
    results = [each["result"] for each in answers if "result" in each]
    error = next((each["error"] for each in answers if "error" in each), None)
    if status is None:
        error = f"no answer within {seconds:g} s"
    elif status < 0:
        error = f"crashed with signal {-status} ({signal.strsignal(-status)})"
    elif status > 0 and error is None:
        error = _first_line(complaint) or f"exit status {status}"
    return results, error


def answer(function: str, arguments: str) -> None:
    """The child's part: calls the function and prints what it yields, each as a line of JSON."""
    # Libraries print what they like; the answers alone go to what stdout was.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        for result in globals()[function](*json.loads(arguments)):
            print(json.dumps({"result": result}), file=answers, flush=True)
    except Exception as error:
        print(json.dumps({"error": _line(error)}), file=answers, flush=True)
        answers.flush()
        os._exit(1)
    os._exit(0)  # what hangs or crashes at the exit of a library is of no interest


def _lines(file: BinaryIO) -> list[str]:
    file.seek(0)
    return file.read().decode(errors="replace").splitlines()


def _line(error: BaseException) -> str:
    return ": ".join(filter(None, [type(error).__name__, _first_line(str(error))]))


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:300]

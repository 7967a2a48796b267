"""The devices that JAX finds, and NVIDIA GPUs that it does not."""

import contextlib
import glob
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

from vidjax.doctor import packages
from vidjax.doctor.child import first_line, run_in_child
from vidjax.doctor.findings import OK, PROBLEM, WARNING, Finding
from vidjax.system import processors

_DRIVER_OF_CUDA_13 = 580
_SMI_SECONDS = 20.0


def check_devices(seconds: float) -> Iterator[Finding]:
    gpus, driver = _nvidia()
    asked = os.environ.get("JAX_PLATFORMS") or os.environ.get("JAX_PLATFORM_NAME")
    if packages.installed_version("jax") is None:
        yield Finding("devices", "JAX", PROBLEM, "no devices without jax")
        return
    found, failure = run_in_child(start_devices, [], seconds)
    if not found or failure:
        hint = f"; JAX_PLATFORMS={asked} asks for what is not here, or for a plug-in that is not" if asked else ""
        yield Finding("devices", "JAX", PROBLEM, f"does not start: {failure or 'no answer'}{hint}")
    else:
        backend, kinds, complaints = (found[0][key] for key in ("backend", "kinds", "complaints"))
        counted = ", ".join(f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds))
        cores = f", {processors.available()} cores"
        text = f"{backend}: {counted}{cores if backend == 'cpu' else ''}; jaxlib {packages.installed_version('jaxlib')}"
        told = f", as JAX_PLATFORMS={asked} asks for" if asked else ""
        yield Finding("devices", "JAX", OK, f"{text}{told}", packages.installed_version("jax"))
        for complaint in complaints:
            if "NVIDIA GPU may be present" not in complaint:  # which is told below
                yield Finding("devices", "JAX", WARNING, f"JAX says: {complaint}")
        if gpus and backend == "cpu" and not asked:
            yield Finding("devices", "GPU", WARNING, f"{gpus}, but JAX computes on the CPU: {_advice(driver)}")
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if gpus and hidden is not None:
        yield Finding("devices", "GPU", OK, f"CUDA_VISIBLE_DEVICES={hidden}")


def _advice(driver: int | None) -> str:
    plugins = [name for name in ("jax-cuda13-plugin", "jax-cuda12-plugin") if packages.installed_version(name)]
    if plugins:
        return f"{' and '.join(plugins)} cannot be used; see what JAX says, and the driver's version"
    if driver is not None and driver < _DRIVER_OF_CUDA_13:
        return f"pip install -r requirements-cuda12.txt (driver {driver} is too old for CUDA 13)"
    return "pip install -r requirements-cuda.txt"


def _nvidia() -> tuple[str, int | None]:
    """Returns a description of the NVIDIA GPUs, "" for none, and the major version of their driver, if known."""
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
    """Starts JAX's devices in this process and computes on them; yields their kinds and JAX's warnings."""
    import logging
    import warnings

    complaints: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            complaints.append(first_line(record.getMessage()))

    logging.getLogger("jax").addHandler(Handler(logging.WARNING))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import jax

        for device in jax.local_devices():
            jax.block_until_ready(jax.device_put(1.0, device) + 1.0)
    complaints += [first_line(str(each.message)) for each in caught if issubclass(each.category, RuntimeWarning)]
    kinds = [device.device_kind for device in jax.devices()]
    yield {"backend": jax.default_backend(), "kinds": kinds, "complaints": list(dict.fromkeys(complaints))}

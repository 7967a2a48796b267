"""The whole examination, section by section."""

from collections.abc import Iterator

from vidjax.doctor.accelerators import check_devices
from vidjax.doctor.caches import check_caches
from vidjax.doctor.combinations import check_combinations
from vidjax.doctor.decoders import check_decoders
from vidjax.doctor.findings import Finding
from vidjax.doctor.packages import check_packages, check_python


def examine(seconds: float) -> Iterator[Finding]:
    """Examines everything, section by section.

    Args:
      seconds: how long a process may take that imports a package, starts the devices or decodes a video.
    """
    yield check_python()
    yield from check_packages(seconds)
    yield from check_devices(seconds)
    yield from check_caches()
    yield from check_decoders(seconds)
    yield from check_combinations()

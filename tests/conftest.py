"""Fixtures shared by all tests; sets up 8 virtual CPU devices before JAX starts."""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Compiled once for all tests and the processes that they start: half of the suite's time.
_compiled = tempfile.TemporaryDirectory(prefix="vidjax-tests-")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _compiled.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

import pytest  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of real data: `VIDJAX_TEST_DATA`, default `../shared/data` beside the repository."""
    folder = Path(os.environ.get("VIDJAX_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder} (set VIDJAX_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory) -> Path:
    """Folder of two classes that tell themselves apart by brightness: 12 videos each, 14 frames of 40 x 48."""
    import av
    import numpy as np

    root = tmp_path_factory.mktemp("toy")
    rng = np.random.default_rng(0)
    for label, low in (("dark", 20), ("bright", 150)):
        (root / label).mkdir()
        for number in range(12):
            with av.open(str(root / label / f"{label}{number}.avi"), "w") as container:
                stream = container.add_stream("mjpeg", rate=25)
                stream.width, stream.height, stream.pix_fmt = 48, 40, "yuvj420p"
                for _ in range(14):
                    pixels = rng.integers(low, low + 80, (40, 48, 3), dtype=np.uint8)
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
                container.mux(stream.encode())
    return root

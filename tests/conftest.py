"""Fixtures shared by all tests; sets up 8 virtual CPU devices before JAX starts, and runs whole folders in parallel."""

import os
import tempfile
from pathlib import Path

# What tests compile runs a few times: at this level of XLA it compiles three times as fast. The steps of a run and its
# initial state say their own level and are compiled as they always are.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Compiled once for all tests and the processes that they start, the workers of pytest-xdist among them.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _compiled = tempfile.TemporaryDirectory(prefix="vidjax-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled.name
    os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(10**10))  # a bound makes JAX lock what it writes
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

import pytest
from jaxtyping import install_import_hook

from tests import shape_checks

# Every call of a function in these is checked against the shapes in its signature. Before the first import of them.
install_import_hook(["vidjax.models", "vidjax.layers", "vidjax.training.losses"], f"{shape_checks.__name__}.check")

ROOT = Path(__file__).resolve().parent.parent
_MOST_WORKERS = 8
_WORKER_BYTES = 5 << 30  # what a worker holds in the end: compiled programs, above all


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Shares the tests among the cores, unless `-n` is given; those of a single file are not worth the workers."""
    option = config.option
    is_worker, is_told = hasattr(config, "workerinput"), getattr(option, "numprocesses", 0) is not None
    if is_worker or is_told or option.keyword or option.usepdb or option.collectonly:  # or pytest-xdist is missing
        return
    places = {argument.partition("::")[0] for argument in config.args}
    if len(places) > 1 or any(map(os.path.isdir, places)):
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        workers = min(cores, _MOST_WORKERS, memory // _WORKER_BYTES)
        option.numprocesses = workers if workers > 1 else 0
        if option.dist == "no":
            option.dist = "worksteal"  # contiguous shares: few modules are split, and their fixtures built twice


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


@pytest.fixture(scope="session")
def trained_run(toy_folder, tmp_path_factory) -> Path:
    """A finished run on copies of those videos that are gone since: early fusion, 2 views of a video, averaged weights.

    Nobody may write into it.
    """
    import shutil

    from tests import toy
    from vidjax import train

    videos, workdir = tmp_path_factory.mktemp("gone") / "videos", tmp_path_factory.mktemp("trained") / "run"
    shutil.copytree(toy_folder, videos)
    steps = {"train__steps": 12, "train__validate_every": 4, "checkpoint__every": 6, "train__ema_decay": 0.5}
    config = toy.config(videos, **steps, data__mirror="invariant", evaluate__clips=2, evaluate__samples=0)
    train.train_and_evaluate(config, workdir)
    shutil.rmtree(videos)
    return shutil.move(workdir, workdir.with_name("moved"))

"""Fixtures shared by all tests; sets up 8 virtual CPU devices before JAX starts."""

import os
from pathlib import Path

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of real data: `VIDJAX_TEST_DATA`, default `../shared/data` beside the repository."""
    folder = Path(os.environ.get("VIDJAX_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder} (set VIDJAX_TEST_DATA)")
    return folder

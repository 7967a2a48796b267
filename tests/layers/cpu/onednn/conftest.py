import pytest

from vidjax.layers.cpu.onednn import library


@pytest.fixture(scope="session")
def loaded():
    """The library; without it there is nothing to test."""
    try:
        return library.load()
    except library.LibraryError as error:
        pytest.skip(str(error))

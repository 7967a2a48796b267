import pytest

from vidjax.layers.cpu.onednn import shared_library


@pytest.fixture(scope="session")
def loaded():
    """The library; without it there is nothing to test."""
    try:
        return shared_library.load()
    except shared_library.LibraryError as error:
        pytest.skip(str(error))

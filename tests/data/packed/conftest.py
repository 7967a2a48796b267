"""The videos that these tests pack."""

import pytest

from vidjax.data.indexing import with_file_info
from vidjax.data.sources import folder


@pytest.fixture(scope="module")
def source(toy_folder):
    return with_file_info(folder.load(root=str(toy_folder)))

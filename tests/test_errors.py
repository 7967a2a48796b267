"""Errors of rooms that know options, but not the config that these come from."""

import pickle

import pytest

from vidjax.errors import ConfigError, DataError, OptionDataError, OptionError, options_of


@pytest.mark.parametrize("kind, plain", [(OptionError, ConfigError), (OptionDataError, DataError)])
def test_options_become_keys_of_their_section(kind, plain):
    error = kind("{root}={seed} holds no {root}, but {level}", ["root"])
    assert isinstance(error, plain) and str(error) == "root={seed} holds no root, but {level}"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    with pytest.raises(plain) as caught, options_of("data"):
        raise error
    assert str(caught.value) == "data.root={seed} holds no data.root, but {level}"
    assert type(caught.value) is plain, "or an outer section would be named, too"

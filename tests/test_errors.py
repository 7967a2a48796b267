"""Errors of rooms that know options, but not the config that these come from."""

import pickle

import pytest

from vidjax.errors import (
    ConfigError,
    DataError,
    LeakError,
    OptionDataError,
    OptionError,
    UnknownKeyError,
    VideoError,
    options_of,
)


@pytest.mark.parametrize("kind, plain", [(OptionError, ConfigError), (OptionDataError, DataError)])
def test_options_become_keys_of_their_section(kind, plain):
    error = kind("{root}={seed} holds no {root}, but {level}", ["root"])
    assert isinstance(error, plain) and str(error) == "root={seed} holds no root, but {level}"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    with pytest.raises(plain) as caught, options_of("data"):
        raise error
    assert str(caught.value) == "data.root={seed} holds no data.root, but {level}"
    assert type(caught.value) is plain, "or an outer section would be named, too"


def test_errors_keep_what_they_are_about_across_processes():
    error = UnknownKeyError("no key 'a.b'", ["a.b"], "a.c")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.keys, again.suggestion) == (str(error), ("a.b",), "a.c")
    with pytest.raises(ConfigError) as caught, options_of("data"):
        raise OptionError("{crop}=3 does not fit into {size}=2", ["crop", "size"])
    assert pickle.loads(pickle.dumps(caught.value)).keys == ("data.crop", "data.size")
    leak = pickle.loads(pickle.dumps(LeakError("a.mp4 is in two parts")))
    assert isinstance(leak, DataError) and str(leak) == "a.mp4 is in two parts"
    video = pickle.loads(pickle.dumps(VideoError("a.mp4", "broken")))
    assert (video.path, video.reason) == ("a.mp4", "broken")

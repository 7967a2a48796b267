import re

from tests.refusals import refused
from vidjax.doctor import decoders
from vidjax.errors import DataError


def test_decoders_are_tried_on_a_video(tmp_path, monkeypatch):
    path = str(tmp_path / "grays.avi")
    monkeypatch.setitem(decoders._DECODERS, "H.269", ("h269",))
    (found,) = decoders.try_pyav(path)
    assert found["missing"] == ["H.269"]
    assert list(decoders.try_decord(path)) == [True]
    monkeypatch.setattr(decoders, "_GRAY_LEVELS", (40, 120, 90))
    with refused(DataError, "40, 120, 90") as caught:
        list(decoders.try_decord(path))
    assert re.search(r"\d+, \d+, (199|200|201)\b", str(caught.value))

"""`python -m vidjax explain`: what it prints and writes."""

import numpy as np
from PIL import Image

from tests.refusals import unnamed
from vidjax import cli


def test_pictures_and_scores(trained_run, toy_folder, tmp_path, capsys):
    video = str(toy_folder / "bright" / "bright0.avi")
    words = ["explain", video, f"--workdir={trained_run}", f"--out={tmp_path / 'new'}", "--class=bright"]
    assert cli.main(words) == 0
    printed = capsys.readouterr().out
    assert not unnamed(printed, video, "features/norm5", "1x3x3", tmp_path / "new" / "bright0_explained.webp")
    with Image.open(tmp_path / "new" / "bright0_explained.webp") as animation:
        assert animation.size[0] > 2 * 36 and animation.n_frames == 2
    with Image.open(tmp_path / "new" / "bright0_explained.png") as strip:
        pixels = np.asarray(strip)
    assert pixels.shape[1] > 2 * 150 and (pixels[-1] == 255).all(), "white below the caption"


def test_errors_are_one_line(trained_run, toy_folder, capsys):
    video = str(toy_folder / "bright" / "bright0.avi")
    for words, token in (
        ([video, f"--workdir={trained_run}", "--class=dusk"], "'dusk'"),
        ([video, f"--workdir={trained_run}", "--layer=nowhere"], "'nowhere'"),
        (["missing.avi", f"--workdir={trained_run}"], "missing.avi"),
    ):
        assert cli.main(["explain", *words]) == 1
        error = capsys.readouterr().err
        assert not unnamed(error, token) and error.count("\n") == 1

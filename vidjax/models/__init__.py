"""Architectures, by name: one file per paper.

module = create("early_fusion", num_classes=101, normalization="batch")
variables = module.init(jax.random.key(0), rgb=jnp.zeros((1, 10, 170, 170, 3)))
output = module.apply(variables, rgb=clip)  # Output(logits [B, N, K], aux)
"""

from typing import Any

import flax.linen as nn

from vidjax.errors import ConfigError
from vidjax.models import (
    c3d,
    capsnet,
    capsule_lstm,
    capsule_video,
    cnn_lstm,
    i3d,
    image_fusion,
    karpathy,
    pose_lstm,
    resnet3d,
    siamese,
    slowfast,
    two_stream,
)
from vidjax.models.calling import accepted_arguments, apply, input_names, offers_drawings, required_masks
from vidjax.models.output import Drawing, Output
from vidjax.models.parts import Parts, parts_of, variant_of
from vidjax.models.summary import Summary, summary
from vidjax.options import choosing as _options

MODELS: dict[str, Any] = {
    **karpathy.FUSIONS,
    "multires": karpathy.Multires,
    **c3d.VARIANTS,
    **resnet3d.VARIANTS,
    "i3d": i3d.I3D,
    **image_fusion.NETWORKS,
    **slowfast.VARIANTS,
    **capsnet.VARIANTS,
    "capsule_video": capsule_video.CapsuleVideo,
    "cnn_lstm": cnn_lstm.CnnLstm,
    **two_stream.NETWORKS,
    "siamese": siamese.Siamese,
    "capsule_lstm": capsule_lstm.CapsuleLstm,
    "pose_lstm": pose_lstm.PoseLstm,
}


def find(name: str, factory: str | None = None) -> Any:
    """Returns the module class or function that builds the model `name`, or the `factory`.

    Raises:
      ConfigError: for an unknown name or a factory that cannot be imported.
    """
    return _options.resolve("model", MODELS, name, factory)


def create(name: str, num_classes: int, *, factory: str | None = None, **options: Any) -> nn.Module:
    """Builds the model `name`, or what `factory` ("package.module:function") builds.

    Args:
      name: a key of `MODELS`.
      num_classes: K.
      factory: a custom function or module class, called as `factory(num_classes, **options)`.
      **options: model options; None selects the model's default.

    Raises:
      ConfigError: for an unknown name, an option that the model does not take, or a factory that builds no module.
    """
    module = _options.build("model", MODELS, name, num_classes, factory=factory, options=options)
    if not isinstance(module, nn.Module):
        raise ConfigError(f"model factory {factory!r} returned a {type(module).__name__}, expected a flax.linen.Module")
    return module


__all__ = [
    "MODELS",
    "Drawing",
    "Output",
    "Parts",
    "Summary",
    "accepted_arguments",
    "apply",
    "create",
    "find",
    "input_names",
    "offers_drawings",
    "parts_of",
    "required_masks",
    "summary",
    "variant_of",
]

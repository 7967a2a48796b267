"""The parts of networks that may begin from published weights, as prefixes of parameter paths."""

import dataclasses

from vidjax.models import i3d, image_fusion


@dataclasses.dataclass(frozen=True)
class Parts:
    """Parts of a network.

    Attributes:
      classifier: what scores the classes.
      stages: of what comes before it, first to last.
      temporal: the layers that span time in a form of fusion, apart from which the network sees frames alone.
    """

    classifier: str
    stages: tuple[str, ...]
    temporal: tuple[str, ...]


def parts_of(name: str, fusion: str) -> Parts:
    """The parts of a network.

    Args:
      name: a key of `MODELS`: "i3d", which spans time in all its layers, or an image network.
      fusion: one of `image_fusion.FUSIONS`.

    Example:
      >>> parts_of("mobilenet_v2", "early").temporal
      ('trunk/stem',)
    """
    if name == "i3d":
        return Parts(i3d.CLASSIFIER, i3d.STAGES, ())
    return Parts("classes", image_fusion.stage_names(name), image_fusion.temporal_convolutions(name, fusion))


def variant_of(name: str, chosen: str | None) -> str | None:
    """Whose weights fit a network; None: any, since it has no variants.

    Args:
      name: a key of `MODELS`.
      chosen: its option `variant`; None: the default of the network.

    Example:
      >>> variant_of("efficientnet_lite0", None), variant_of("resnet50", None), variant_of("c3d", None)
      ('keras', 'torch', None)
    """
    kind = image_fusion.BACKBONES.get(name)
    return (chosen or kind.DEFAULT_VARIANT) if kind is not None else None

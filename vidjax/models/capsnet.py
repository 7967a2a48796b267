"""Sabour, Frosst and Hinton 2017, "Dynamic Routing Between Capsules" (NeurIPS): CapsNet and its baseline.

For small images, frame by frame. Figure 1: Conv(256, 9 x 9) - PrimaryCaps(32 x 8D, 9 x 9, stride 2) -
DigitCaps(K x 16D, 3 routing iterations); figure 2: a decoder of 512 - 1024 - pixels from one capsule.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from vidjax.layers.capsules import DenseCaps, MaskedDecoder, PrimaryCaps, lengths
from vidjax.layers.convolution import Conv
from vidjax.layers.dropout import Dropout
from vidjax.layers.shapes import Clips, ExampleIds
from vidjax.models.capsnet_drawings import draw_reconstructions
from vidjax.models.output import Drawing, Output
from vidjax.options.declaring import Option


class CapsNet(nn.Module):
    """CapsNet. With 28 x 28 gray pixels and K = 10 it has 8,215,568 parameters, 6,804,224 without the decoder.

    Attributes:
      num_classes: K.
      channels: of the image; 1 uses the first only, since all three of a grayscale image are equal.
      iterations: of the routing.
      decoder: reconstruct an image from each class capsule.
      width: filters of the first convolution.
      types: capsules at each position of the primary ones.
      primary_dimension, dimension: of the poses of primary and of class capsules.
      detach, vote_megabytes: as in `DenseCaps`.
      dtype, param_dtype: of the computation and of the parameters.
    """

    num_classes: int
    channels: Annotated[int, Option("1 for grayscale images, 3 for RGB", at_least=1)] = 1
    iterations: Annotated[int, Option("routing iterations", at_least=1)] = 3
    decoder: Annotated[bool, Option("reconstruct an image from each class capsule")] = True
    width: Annotated[int, Option("channels of the convolution", at_least=1)] = 256
    types: Annotated[int, Option("primary capsule types at each position", at_least=1)] = 32
    primary_dimension: Annotated[int, Option("size of the pose of a primary capsule", at_least=1)] = 8
    dimension: int = 16
    detach: Annotated[bool, Option("stop gradients through the couplings: faster, but not as in the paper")] = False
    vote_megabytes: Annotated[
        float | None,
        Option("megabytes of votes that routing holds at once; they are recomputed for gradients", above=0),
    ] = None
    dtype: Any = None
    param_dtype: Any = jnp.float32
    drawn_from: ClassVar[tuple[str, ...]] = ("reconstruction",)

    @nn.compact
    def __call__(self, rgb: Clips, *, train: bool = False) -> Output:
        """Maps float [B, T, H, W, 3] to the lengths of the class capsules as logits [B, T, K].

        In `aux`: "poses" [B, T, K, dimension]; with a decoder "reconstruction" [B, T, K, P], the image
        reconstructed from each class capsule, in 0..1, and "target" [B, T, P], the P = H * W * channels values of the
        frame.
        """
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        frames = rgb[..., : self.channels].reshape(-1, *rgb.shape[2:4], self.channels)
        x = nn.relu(Conv(self.width, (9, 9), padding="VALID", name="conv1", **types)(frames))
        primary = PrimaryCaps(self.types, self.primary_dimension, (9, 9), strides=2, name="primary_caps", **types)
        of_classes = DenseCaps(
            self.num_classes,
            self.dimension,
            self.iterations,
            self.detach,
            self.vote_megabytes,
            name="class_caps",
            **types,
        )
        poses = of_classes(primary(x))

        def by_frame(x: jax.Array) -> jax.Array:
            return x.reshape(*rgb.shape[:2], *x.shape[1:])

        aux = {"poses": by_frame(poses)}
        if self.decoder:
            drawn = MaskedDecoder(math.prod(frames.shape[1:]), name="decoder", **types)(poses)
            aux |= {"reconstruction": by_frame(drawn), "target": by_frame(frames.reshape(frames.shape[0], -1))}
        return Output(by_frame(lengths(poses)), aux)

    @nn.nowrap
    def draw_examples(
        self, params: Any, output: Output, labels: Sequence[int], class_names: Sequence[str]
    ) -> list[Drawing]:
        """Reconstructions, and what each number of a pose stands for; of a model with a decoder.

        Args:
          params: its parameters.
          output: of the model on B clips, of which the first frame is shown.
          labels: of the clips.
          class_names: K names.
        """
        decoder = MaskedDecoder(output.aux["target"].shape[-1], dtype=self.dtype, param_dtype=self.param_dtype)
        return draw_reconstructions(decoder, params["decoder"], output, labels, class_names, self.channels)


class CapsNetBaseline(nn.Module):
    """The convolutional network of section 5 that CapsNet is measured against: 35.4 million parameters.

    Three 5 x 5 convolutions, FC(328), FC(192), dropout, softmax. The count assumes convolutions that keep the size.

    Attributes:
      num_classes: K.
      channels: as in `CapsNet`.
      widths: filters of the convolutions.
      hidden: units of the hidden layers.
      width_multiplier: scales filters and hidden units; 1 is the paper's.
      dropout: of the last hidden layer.
      dtype, param_dtype: of the computation and of the parameters.
    """

    num_classes: int
    channels: Annotated[int, Option("1 for grayscale images, 3 for RGB", at_least=1)] = 1
    widths: Sequence[int] = (256, 256, 128)
    hidden: Sequence[int] = (328, 192)
    width_multiplier: Annotated[float, Option("scales filters and hidden units; 1 is the paper's", above=0)] = 1.0
    dropout: Annotated[
        float, Option("probability of dropping a hidden unit of the classifier", at_least=0, below=1)
    ] = 0.5
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, rgb: Clips, *, example_ids: ExampleIds | None = None, train: bool = False) -> Output:
        """Maps float [B, T, H, W, 3] to logits [B, T, K]."""
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        batch, time = rgb.shape[:2]
        x = rgb[..., : self.channels].reshape(-1, *rgb.shape[2:4], self.channels)
        for number, width in enumerate(self.widths, start=1):
            x = nn.relu(Conv(round(width * self.width_multiplier), (5, 5), name=f"conv{number}", **types)(x))
        x = x.reshape(batch, time, -1)
        for number, width in enumerate(self.hidden, start=1):
            x = nn.relu(nn.Dense(round(width * self.width_multiplier), name=f"fc{number}", **types)(x))
        x = Dropout(self.dropout, name="dropout")(x, example_ids, train=train)
        return Output(nn.Dense(self.num_classes, name="classes", **types)(x))


VARIANTS: dict[str, Any] = {"capsnet": CapsNet, "capsnet_baseline": CapsNetBaseline}

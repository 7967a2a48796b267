"""The networks of `benchmarks.train_step` and `growth`. Imports neither JAX nor PyTorch: a process only loads one."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

CLASSES = 101
LEARNING_RATE, MOMENTUM = 1e-3, 0.9


@dataclasses.dataclass(frozen=True)
class Network:
    """A network and the shape of its batch.

    Attributes:
      name: in commands.
      title: in tables.
      shape: of a batch: clips [B, T, H, W, 3], images [B, H, W, 3] or sequences [B, T, D].
      width: multiplier of AlexNet's layers; hidden units of the LSTM; unused by other networks.
      has_other_batch: whether its number of clips is not the usual one.
    """

    name: str
    title: str
    shape: tuple[int, ...]
    width: float = 1.0
    has_other_batch: bool = False

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Network":
        """From `dataclasses.asdict`, by way of JSON."""
        return cls(**{**fields, "shape": tuple(fields["shape"])})

    @property
    def key(self) -> str:
        """Of its samples: the name, and the batch if it is not the usual one, e.g. "c3d_small/32"."""
        return f"{self.name}/{self.shape[0]}" if self.has_other_batch else self.name

    def with_batch(self, batch: int) -> "Network":
        """The network on this number of clips."""
        if batch == self.shape[0]:
            return self
        return dataclasses.replace(self, shape=(batch, *self.shape[1:]), has_other_batch=True)

    @property
    def size(self) -> str:
        """Description of the batch."""
        batch, *rest = self.shape
        return f"{batch} x {'x'.join(map(str, rest if len(self.shape) == 3 else rest[:-1]))}"


NETWORKS = {
    network.name: network
    for network in (
        Network("early_fusion", "AlexNet-like early fusion", (16, 10, 112, 112, 3)),
        Network("c3d_small", "C3D small", (4, 16, 112, 112, 3)),
        Network("slowfast_r18_small", "SlowFast small", (2, 32, 112, 112, 3)),
        Network("i3d", "I3D", (2, 16, 112, 112, 3)),
        Network("mobilenet_v2", "MobileNetV2", (16, 112, 112, 3)),
        Network("lstm", "LSTM", (32, 16, 512), 512),
    )
}
# The smallest input of each network, to try the program with.
TINY = {
    "early_fusion": Network("early_fusion", "early fusion, tiny", (4, 2, 47, 47, 3), 0.125),
    "c3d_small": Network("c3d_small", "C3D small, tiny", (2, 8, 32, 32, 3)),
    "slowfast_r18_small": Network("slowfast_r18_small", "SlowFast small, tiny", (2, 8, 64, 64, 3)),
    "i3d": Network("i3d", "I3D, tiny", (2, 16, 64, 64, 3)),
    "mobilenet_v2": Network("mobilenet_v2", "MobileNetV2, tiny", (4, 64, 64, 3)),
    "lstm": Network("lstm", "LSTM, tiny", (4, 5, 8), 16),
}


def batch(network: Network) -> tuple[np.ndarray, np.ndarray]:
    """A fixed batch: float32 of the network's shape, and int64 labels [B]."""
    rng = np.random.default_rng(0)
    return rng.standard_normal(network.shape, np.float32), rng.integers(0, CLASSES, network.shape[0])

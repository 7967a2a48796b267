"""Training steps in PyTorch, with channels last in memory, eager or by `torch.compile`."""

from collections.abc import Callable

import torch

from benchmarks import child, networks
from benchmarks.networks import CLASSES, Network
from benchmarks.torch_models import c3d, early_fusion, mobilenet, recurrent, slowfast

_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def build(network: Network) -> torch.nn.Module:
    """The network, without dropout."""
    shape = network.shape
    match network.name:
        case "early_fusion":
            return early_fusion.EarlyFusion(CLASSES, shape[1], shape[2], network.width)
        case "c3d_small":
            left = (-(-shape[1] // 16), *(-(-side // 32) for side in shape[2:4]))
            return c3d.C3D(CLASSES, left, batch=True, width_multiplier=0.125)
        case "slowfast_r18_small":
            window = min(7, -(-shape[2] // 32))
            return slowfast.SlowFast(CLASSES, 4, 5, depth=18, width=16, beta_inverse=4, window=window)
        case "mobilenet_v2":
            return mobilenet.MobileNetV2(CLASSES)
        case "lstm":
            return recurrent.LSTMClassifier(CLASSES, shape[2], round(network.width))
    raise ValueError(f"no network {network.name!r}")


def use_threads() -> None:
    """As many threads as there are cores for this process."""
    torch.set_num_threads(child.threads())


def prepare(network: Network, compiled: bool, model: torch.nn.Module | None = None) -> Callable[[], float]:
    """Initialises a network.

    Args:
      network: the network.
      compiled: by `torch.compile`: the network and the loss; else eager.
      model: the network itself, with weights of one's own; default: at random.

    Returns:
      A function that takes one step on the network's batch and returns the loss before it.
    """
    torch.manual_seed(0)
    model = build(network) if model is None else model
    array, label = (torch.from_numpy(array) for array in networks.batch(network))
    clip = array if array.ndim == 3 else array.movedim(-1, 1)
    if clip.ndim in _FORMATS:
        clip = clip.contiguous(memory_format=_FORMATS[clip.ndim])
        for parameter in model.parameters():
            if parameter.ndim in _FORMATS:
                parameter.data = parameter.data.contiguous(memory_format=_FORMATS[parameter.ndim])
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # The fastest of PyTorch's three forms of it on a CPU.
    optimizer = torch.optim.SGD(trained, networks.LEARNING_RATE, momentum=networks.MOMENTUM, fused=True)

    def objective(clip: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(model(clip).mean(dim=1), label)

    computed = torch.compile(objective) if compiled else objective

    def take() -> float:
        loss = computed(clip, label)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return take

"""Training steps in PyTorch, with channels last in memory, eager or by `torch.compile`."""

from collections.abc import Callable

import torch

from benchmarks import networks, worker
from benchmarks.networks import CLASSES, Network
from benchmarks.torch_models import c3d, early_fusion, i3d, mobilenet, recurrent, slowfast

FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


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
            return slowfast.slowfast_r18_small(CLASSES, shape[2])
        case "i3d":
            return i3d.I3D(CLASSES)
        case "mobilenet_v2":
            return mobilenet.MobileNetV2(CLASSES)
        case "lstm":
            return recurrent.LSTMClassifier(CLASSES, shape[2], round(network.width))
    raise ValueError(f"no network {network.name!r}")


def use_threads() -> None:
    """Uses as many threads as this process has cores."""
    torch.set_num_threads(worker.threads())


def prepare(network: Network, compiled: bool, model: torch.nn.Module | None = None) -> Callable[[], float]:
    """Builds a training step.

    Args:
      network: the network.
      compiled: whether `torch.compile` compiles the network and the loss.
      model: the network with given weights; by default it is initialized randomly.

    Returns:
      A function that takes one step on the network's batch and returns the loss before the step.
    """
    torch.manual_seed(0)
    model = build(network) if model is None else model
    array, label = (torch.from_numpy(array) for array in networks.batch(network))
    clip = array if array.ndim == 3 else array.movedim(-1, 1)
    if clip.ndim in FORMATS:
        clip = clip.contiguous(memory_format=FORMATS[clip.ndim])
        for parameter in model.parameters():
            if parameter.ndim in FORMATS:
                parameter.data = parameter.data.contiguous(memory_format=FORMATS[parameter.ndim])
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # The fastest of PyTorch's three implementations on a CPU.
    optimizer = torch.optim.SGD(trained, networks.LEARNING_RATE, momentum=networks.MOMENTUM, fused=True)

    def objective(clip: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(model(clip).mean(dim=1), label)

    take = training_step(torch.compile(objective) if compiled else objective, optimizer, clip, label)
    return lambda: take().item()


def training_step(
    objective: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    optimizer: torch.optim.Optimizer,
    clip: torch.Tensor,
    label: torch.Tensor,
) -> Callable[[], torch.Tensor]:
    """A function that takes one step on a batch and returns the loss before the step."""

    def take() -> torch.Tensor:
        loss = objective(clip, label)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return take

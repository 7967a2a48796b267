"""The PyTorch rows of `benchmarks.accelerator`, each run in a separate process."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks import torch_step
from benchmarks.accelerator_rows import (
    LEARNING_RATE,
    MOMENTUM,
    RECONSTRUCTION,
    Network,
    batch,
    blocks_of,
    finite,
    in_blocks,
    network,
    transfers,
)
from benchmarks.torch_models import c3d, capsnet, early_fusion, i3d, resnet3d, slowfast
from benchmarks.worker import StatusCallback


def build(net: Network) -> nn.Module:
    """The network, without dropout."""
    frames, side, _ = net.clip
    width = net.options.get("width_multiplier", 1.0)
    match net.model:
        case "slowfast_r50_8x8":
            return slowfast.SlowFast(net.classes, 4, 7, window=min(7, -(-side // 32)))
        case "slowfast_r18_small":
            return slowfast.slowfast_r18_small(net.classes, side)
        case "r2plus1d_18":
            return resnet3d.ResNet3D(net.classes, True, width)
        case "i3d":
            return i3d.I3D(net.classes)
        case "c3d":
            left = (-(-frames // 16), -(-side // 32), -(-side // 32))
            return c3d.C3D(net.classes, left, width_multiplier=width)
        case "early_fusion":
            return early_fusion.EarlyFusion(net.classes, frames, side, width)
        case "capsnet":
            return capsnet.CapsNet(net.classes, side, **net.options)
    raise ValueError(f"no network {net.model!r}")


def _device(tiny: bool) -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    if not tiny:
        raise RuntimeError("PyTorch sees no GPU: install its CUDA wheel, or try this program with --tiny")
    return torch.device("cpu")


def _about(device: torch.device) -> dict[str, Any]:
    versions: dict[str, Any] = {"torch": torch.__version__}
    if device.type == "cpu":
        return {"device": "cpu", "versions": versions}
    versions |= {"cuda of torch": torch.version.cuda, "cudnn of torch": torch.backends.cudnn.version()}
    return {"device": torch.cuda.get_device_name(), "versions": versions}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _peak_megabytes(device: torch.device) -> float | None:
    return round(torch.cuda.max_memory_allocated() / 1e6, 1) if device.type == "cuda" else None


def prepare(
    net: Network,
    dtype: str,
    size: int,
    device: torch.device,
    compiled: bool,
    *,
    model: nn.Module | None = None,
    learning_rate: float = LEARNING_RATE,
) -> Callable[[], torch.Tensor]:
    """Builds a step: uint8 clips normalized on the device, forward, backward, SGD with momentum.

    Args:
      net: the network.
      dtype: "bfloat16", by autocast, or "float32", with TF32 if the device supports it.
      size: clips per batch, which stays on the device.
      device: the device.
      compiled: whether `torch.compile` compiles normalization, network and loss.
      model: the network with given weights; by default it is initialized randomly.
      learning_rate: of SGD with momentum.

    Returns:
      A function that enqueues a step and returns the loss before the step.
    """
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    if model is None:
        with device:
            model = build(net)
    model = model.to(device)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch_step.FORMATS[layer.weight.ndim])
    model.train()
    network_, of_dtype = model, getattr(torch, dtype)
    optimizer = torch.optim.SGD(model.parameters(), learning_rate, momentum=MOMENTUM, fused=True)
    arrays = batch(net, size)
    clips, label = torch.from_numpy(arrays[0]).to(device), torch.from_numpy(arrays[1]).long().to(device)

    def objective(clips: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        # Channels stay last in memory: only the order of the axes changes.
        x = (clips.permute(0, 4, 1, 2, 3).to(of_dtype) - net.mean) / net.std
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
            if net.is_capsnet:
                return network_.loss(x, label, RECONSTRUCTION)  # type: ignore[operator]
            logits = network_(x)
        each = label[:, None].expand(-1, logits.shape[1])
        return nn.functional.cross_entropy(capsnet.wide(logits.flatten(0, 1)), each.flatten())

    return torch_step.training_step(torch.compile(objective) if compiled else objective, optimizer, clips, label)


def step(
    mark: StatusCallback, *, name: str, dtype: str, size: int, seconds: float, tiny: bool, compiled: bool
) -> dict[str, Any]:
    """Times training steps; as `benchmarks.accelerator_jax.step`."""
    device, net = _device(tiny), network(name, tiny)
    take = prepare(net, dtype, size, device, compiled)
    _wait(device)
    mark("built_s")
    started = time.perf_counter()
    first_loss = take()
    _wait(device)
    first = time.perf_counter() - started
    mark("first_step_done_s")
    loss = first_loss
    steady: list[float | None] = []

    def enqueue() -> None:
        nonlocal loss
        loss = take()

    def wait() -> None:
        _wait(device)
        if not steady and device.type == "cuda":
            # After the first steps, which need memory for autotuning.
            steady.append(_peak_megabytes(device))
            torch.cuda.reset_peak_memory_stats()

    timed = in_blocks(enqueue, wait, seconds, blocks_of(tiny))
    of_step = _peak_megabytes(device)
    return {
        **_about(device),
        "shape": [size, *net.clip, 3],
        "ms": timed,
        "clips_per_second": float(f"{1000 * size / timed['median']:.4g}"),
        "first_step_s": round(first, 3),
        "step_mb": of_step,
        "peak_mb": max(steady[0] or 0.0, of_step) if steady and of_step is not None else None,
        "first_loss": finite(float(first_loss)),
        "last_loss": finite(float(loss)),
    }


def transfer(mark: StatusCallback, *, seconds: float, tiny: bool) -> dict[str, Any]:
    """Host-to-device transfer of a batch of SlowFast's uint8 clips, from pageable and from pinned memory."""
    device, net = _device(tiny), network("slowfast", tiny)
    array = batch(net, 2 if tiny else 16)[0]
    pageable = torch.from_numpy(array)

    def transferred(clips: torch.Tensor) -> dict[str, Any]:
        return transfers(lambda: clips.to(device, non_blocking=True), lambda _: _wait(device), seconds, array)

    result = {**_about(device), "shape": list(array.shape), "pageable": transferred(pageable)}
    mark("pageable_s")
    return {**result, "pinned": transferred(pageable.pin_memory()) if device.type == "cuda" else None}

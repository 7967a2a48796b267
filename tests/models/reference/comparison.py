"""Running a PyTorch model and one of vidjax with the same weights, and comparing them place by place."""

import functools
import re

import jax
import numpy as np
import torch
from flax import traverse_util

from vidjax.training.compiler_options import accepted_options

TOLERANCE = 1e-4  # of max |a - b| / max |b|


def randomize(model, seed=0):
    """Random weights and random running statistics, so that no layer is the identity and no two are equal."""
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor, mean, deviation):
        tensor.copy_(mean + deviation * torch.randn(tensor.shape, generator=generator))

    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, torch.nn.Conv2d | torch.nn.Conv3d | torch.nn.Linear):
                normal(layer.weight, 0.0, (2 / layer.weight[0].numel()) ** 0.5)
            if isinstance(layer, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
                normal(layer.weight, 1.0, 0.2)
                normal(layer.running_mean, 0.0, 0.3)
                layer.running_var.copy_(torch.rand(layer.running_var.shape, generator=generator) + 0.5)
            if isinstance(getattr(layer, "bias", None), torch.Tensor):
                normal(layer.bias, 0.0, 0.2)
    return model.eval()


def state(model):
    """Name -> array, as in a checkpoint; copies, since training changes a model's own."""
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def clip(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def to_torch(rgb):
    """[B, T, H, W, C] to [B, C, T, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(rgb, -1, 1)))


def places(model, rules):
    """Name of a PyTorch module -> path of ours, for the modules whose names match the `rules`, {pattern: path}."""
    found = {}
    for name, _ in model.named_modules():
        for pattern, path in rules.items():
            if match := re.fullmatch(pattern, name):
                found[name] = path(*match.groups())
    return found


def run_torch(model, inputs, where, train=False):
    """The outputs of the modules in `where` and of the model ("logits"), channels last."""
    results = {}

    def keep(path):
        def hook(module, _, output):
            results[path] = np.moveaxis(output.numpy(), 1, -1) if output.ndim == 5 else output.numpy()

        return hook

    handles = [model.get_submodule(name).register_forward_hook(keep(path)) for name, path in where.items()]
    with torch.no_grad():
        results["logits"] = model.train(train)(inputs).numpy()
    for handle in handles:
        handle.remove()
    return results


@functools.cache
def _compiled(module, train):
    collections = ["intermediates", *(["batch_stats"] if train else [])]
    # Compiled twice as fast, which counts for what runs a few times; but float64 is then slow to run.
    options = None if train else accepted_options({"xla_backend_optimization_level": 0})
    return jax.jit(
        lambda variables, rgb: module.apply(
            variables, rgb=rgb, train=train, capture_intermediates=True, mutable=collections
        ),
        compiler_options=options,
    )


def run_jax(module, variables, rgb, train=False):
    """The outputs of all modules, by path, and of the model ("logits"); in training also the new variables."""
    output, mutated = _compiled(module, train)(variables, rgb)
    captured = traverse_util.flatten_dict(mutated["intermediates"])
    results = {"/".join(path[:-1]): values[0] for path, values in captured.items() if len(path) > 1}
    results["logits"] = output.logits
    return (results, mutated["batch_stats"]) if train else results


def errors(got, want):
    """max |a - b| / max |b| at each place of `want`."""
    result = {}
    for place, b in want.items():
        a, b = np.asarray(got[place], np.float64), np.asarray(b, np.float64)
        assert a.shape == b.shape, f"{place}: shape {a.shape} against {b.shape}"
        assert np.isfinite(b).all() and np.abs(b).max() > 0, f"{place}: the reference is degenerate"
        result[place] = np.abs(a - b).max() / np.abs(b).max()
    return result


def assert_agree(got, want, tolerance=TOLERANCE):
    """Every place of `want` is within the tolerance; prints the largest error (`pytest -rP` shows it)."""
    found = errors(got, want)
    worst = max(found, key=found.get)
    print(f"largest relative error {found[worst]:.1e} at {worst}, of {len(found)} places")
    wrong = {place: f"{error:.1e}" for place, error in found.items() if not error < tolerance}
    assert not wrong, f"max|a-b| / max|b| at {wrong}"

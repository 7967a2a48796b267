"""Variables and inputs drawn by NumPy: to compile what draws them takes longer than most tests."""

import jax
import numpy as np


def normal(shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def like(shapes, seed=1):
    """Of the shapes and types of a tree, each about as large as an initializer makes it."""
    rng = np.random.default_rng(seed)

    def draw(leaf):
        return rng.normal(size=leaf.shape, scale=max(1, np.prod(leaf.shape[:-1])) ** -0.5).astype(leaf.dtype)

    return jax.tree.map(draw, shapes)


def of(module, *inputs, **named):
    """In the places of those that `module.init` makes for the inputs."""
    return like(jax.eval_shape(module.init, jax.random.key(0), *inputs, **named))

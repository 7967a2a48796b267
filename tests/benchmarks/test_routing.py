"""The routing that `benchmarks.routing` measures in PyTorch is ours."""

import numpy as np
import pytest

from benchmarks import routing


@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("name", routing.TORCH)
def test_torch_computes_the_same(name, iterations):
    pytest.importorskip("torch", reason="parity needs PyTorch (requirements-parity.txt)")
    ours, theirs = (routing.passes(implementation, iterations, tiny=True) for implementation in ("vidjax", name))
    forward, *gradients = routing.PASSES
    np.testing.assert_allclose(ours[forward](), theirs[forward](), rtol=1e-4, atol=1e-7)
    for name in gradients:
        of_inputs, of_maps = theirs[name]()
        np.testing.assert_allclose(ours[name]()[0], of_inputs, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(ours[name]()[1].transpose(2, 0, 3, 1), of_maps, rtol=1e-3, atol=1e-6)

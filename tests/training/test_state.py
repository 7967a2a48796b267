import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from vidjax.models import Output
from vidjax.training.compiler_options import accepted_options
from vidjax.training.state import make_init

SPEC = {"rgb": jax.ShapeDtypeStruct((1, 3, 36, 36, 3), jnp.float32)}


def assert_equal_bits(got, wanted):
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(wanted)):
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


class Net(nn.Module):
    """Draws from a truncated and from a whole normal distribution, and keeps statistics."""

    @nn.compact
    def __call__(self, rgb, train=False):
        x = nn.BatchNorm(use_running_average=not train)(nn.Conv(4, (3, 3, 3))(rgb)).mean(axis=(1, 2, 3))
        return Output(nn.Dense(4, kernel_init=nn.initializers.normal(0.01))(x)[:, None])


def test_parameters_are_those_of_the_models_own_init():
    state = make_init(Net(), optax.sgd(0.1), SPEC, seed=3)()
    # As JAX compiles it unless it is told otherwise; the tests tell it otherwise.
    init = jax.jit(
        lambda: Net().init(jax.random.key(3), rgb=jnp.zeros(SPEC["rgb"].shape)),
        compiler_options=accepted_options({"xla_backend_optimization_level": 3}),
    )
    variables = dict(init())
    assert_equal_bits(state.params, variables.pop("params"))
    assert_equal_bits(state.model_state, variables)


def test_a_model_whose_variables_depend_on_its_input_is_initialized_on_zeros():
    class Centered(nn.Module):
        @nn.compact
        def __call__(self, rgb, train=False):
            mean = self.variable("batch_stats", "mean", lambda: rgb.mean() + 5.0)
            return Output(nn.Dense(4)(rgb.mean(axis=(1, 2, 3)) - mean.value)[:, None])

    state = make_init(Centered(), optax.sgd(0.1), SPEC, seed=0)()
    assert float(state.model_state["batch_stats"]["mean"]) == 5.0

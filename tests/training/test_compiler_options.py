import jax
import jax.numpy as jnp
import pytest

from vidjax.training import parallel
from vidjax.training.compiler_options import accepted_options
from vidjax.training.parallel import choose


def test_an_option_that_xla_does_not_know_is_left_out():
    options = {"xla_backend_optimization_level": 1, "xla_cpu_option_of_the_past": True}
    with pytest.raises(jax.errors.JaxRuntimeError, match="xla_cpu_option_of_the_past"):
        jax.jit(lambda x: x, compiler_options=options)(1.0)
    assert accepted_options(options) == {"xla_backend_optimization_level": 1}


def test_each_option_is_tried_once():
    compiled = []

    def note(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(duration)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        options = {"xla_backend_optimization_level": 2}
        assert accepted_options(options) == accepted_options(options) == options
        assert len(compiled) == 1
    finally:
        jax.monitoring.unregister_event_duration_listener(note)


@pytest.mark.parametrize("form", ["jit", "sharded"])
def test_a_step_compiles_whatever_xla_knows(form, monkeypatch):
    monkeypatch.setattr(parallel, "CPU_OPTIONS", {"xla_cpu_option_of_the_past": True})
    compiled = choose(form).compile_eval(lambda state, batch: state + batch)
    assert compiled(jnp.ones(()), jnp.ones(())) == 2

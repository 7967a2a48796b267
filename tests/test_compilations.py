"""Nothing is traced or compiled anew once every kind of step has been taken."""

import jax
import pytest

from tests import toy
from vidjax import train
from vidjax.config.preparation import prepare
from vidjax.training.checkpoints import Checkpoints

RUN = {
    "data.frames": 1,
    "train.steps": 8,
    "train.log_every": 1,
    "train.validate_every": 2,
    "checkpoint.every": 2,
    "train.ema_decay": 0.9,
}
STEPS = ("jit(train_step)", "jit(eval_step)", "jit(_fun)")  # the last is JAX's name for both under pmap


@pytest.mark.parametrize("parallel, schedule", [("jit", "plateau"), ("pmap", "cosine")])
def test_each_step_is_traced_and_compiled_once(parallel, schedule, toy_folder, tmp_path, monkeypatch):
    overrides = {**RUN, **toy.NET, "parallel": parallel, "schedule.name": schedule}
    if schedule == "plateau":
        overrides |= {"schedule.warmup_fraction": "None", "schedule.patience": 1, "schedule.factor": 0.5}
    traced, compiled, saved = [], [], []

    def note(event, duration, fun_name="", **_):
        if event == "/jax/core/compile/jaxpr_trace_duration":
            traced.append((fun_name, len(saved)))
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append((fun_name, len(saved)))

    save = Checkpoints.save

    def note_save(self, state, step, **notes):
        save(self, state, step, **notes)
        if self._folder.name == "checkpoints":
            saved.append(step)

    monkeypatch.setattr(Checkpoints, "save", note_save)
    run = prepare(toy.config(toy_folder, **overrides))
    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        train.train(run, tmp_path)
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    assert saved == [2, 4, 6, 8]
    assert len([name for name, _ in compiled if name in STEPS]) == 2
    assert len([name for name, _ in traced if name in ("train_step", "eval_step")]) <= 2
    late = [name for name, checkpoints in traced + compiled if checkpoints >= 2]
    assert not late

"""Nothing is traced or compiled anew once every kind of step has been taken."""

import flax.linen as nn
import jax
import pytest

from vidjax import configuration, train
from vidjax.layers.convolution import Conv
from vidjax.layers.pooling import max_pool
from vidjax.layers.recurrent import LSTM
from vidjax.models import Output
from vidjax.run import prepare
from vidjax.training.checkpoints import Checkpoints

TOY = {
    "data.frames": 1,
    "data.short_side": 40,
    "data.crop": 40,
    "preprocessing.crop": 36,
    "model.width_multiplier": 0.05,
    "train.batch_size": 8,
    "train.steps": 8,
    "train.log_every": 1,
    "train.validate_every": 2,
    "checkpoint.every": 2,
    "evaluate.batch_size": 8,
    "train.ema": 0.9,
}
STEPS = ("jit(train_step)", "jit(eval_step)", "jit(_fun)")  # the last is JAX's name for both under pmap


class Net(nn.Module):
    """With statistics, which pmap averages, and quick to compile."""

    classes: int
    axis_name: str | None

    @nn.compact
    def __call__(self, rgb, train=False):
        x = max_pool(Conv(4, (3, 3, 3), strides=(1, 4, 4))(rgb), (1, 2, 2), (1, 2, 2))
        x = LSTM(4)(x.mean(axis=(2, 3)))[:, -1]
        x = nn.BatchNorm(use_running_average=not train, axis_name=self.axis_name)(x)
        return Output(nn.Dense(self.classes)(x)[:, None])


@pytest.mark.parametrize("parallel, schedule", [("jit", "plateau"), ("pmap", "cosine")])
def test_each_step_is_traced_and_compiled_once(parallel, schedule, toy_folder, tmp_path, monkeypatch):
    overrides = {**TOY, "data.root": str(toy_folder), "parallel": parallel, "schedule.name": schedule}
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
    monkeypatch.setattr("vidjax.run._model", lambda config, classes, axis_name: Net(classes, axis_name))
    run = prepare(configuration.load("configs/single_frame.py:folder", overrides))
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

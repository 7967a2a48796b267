"""What the golden files hold, computed by the code as it is.

  python -m tests.golden.snapshot [PART ...]             says which differ: hashes, fingerprints, parameters, losses
  python -m tests.golden.snapshot --write [PART ...]     writes them, and the stored run where `run` is among them

A change that is wanted is a commit of its own, which says what is different and why.
"""

import argparse
import dataclasses
import importlib.metadata
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")  # as many as the tests have
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from vidjax import models
from vidjax.config import identity, loading, presets
from vidjax.config.preparation import prepare
from vidjax.data.sources import SOURCES, motion
from vidjax.errors import ConfigError
from vidjax.experiment import plan
from vidjax.layers.convolution import native_operations
from vidjax.system import compilation_cache, files

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent

# ------------------------------------------------------------------------------------------------------------ hashes

# Arguments of config files beside the presets, which every file is tried with.
_ARGUMENTS = {
    "resnet3d": ("variant=r2plus1d_18", "kinetics,variant=r2plus1d_18"),
    "c3d": ("variant=c3d",),
    "early_fusion": ("frames=5", "ucf101_small,frames=5"),
    "late_fusion": ("fuse_at=scores", "ucf101_small,fuse_at=scores"),
    "multires": ("base=early_fusion", "motion_hard,base=slow_fusion"),
    "slowfast": ("variant=slow_r50", "kinetics,variant=slowfast_r50_4x16"),
}


def hashes() -> dict[str, Any]:
    """The hash of every config with every preset, and of every run of every experiment."""
    configs: dict[str, str] = {}
    for path in sorted((ROOT / "configs").glob("*.py")):
        for argument in ("", *presets.PRESETS[1:], "mnist", *_ARGUMENTS.get(path.stem, ())):
            name = f"{path.stem}:{argument}" if argument else path.stem
            try:
                configs[name] = identity.config_hash(loading.load(f"{path}:{argument}" if argument else str(path)))
            except ConfigError:
                configs[name] = "refused"
    experiments = {}
    for path in sorted((ROOT / "experiments").glob("*.py")):
        runs = plan.runs_of(plan.load(path))
        experiments[path.stem] = {
            run.name: identity.config_hash(loading.load(run.config, run.overrides)) for run in runs
        }
    return {"configs": configs, "experiments": experiments}


# ------------------------------------------------------------------------------------------------------ fingerprints


def fingerprints() -> dict[str, Any]:
    """Of every source that needs no data of others: which videos, with which labels, in which part."""
    with mock.patch.object(motion, "ensure", lambda place, plan: place / plan.name):  # no file is made
        kinds = [(level, seed) for level in motion.LEVELS for seed in (0, 1)]
        found = {f"motion {level} {seed}": motion.load(level=level, seed=seed) for level, seed in kinds}
        sets = {name: Path(source.train[0].path).parents[2].name for name, source in found.items()}
    with tempfile.TemporaryDirectory() as folder:
        found |= _of_lists(Path(folder))
    found["mnist"] = SOURCES["mnist"]()
    return {
        "sources": {name: source.fingerprint() for name, source in found.items()},
        "motion": sets,  # names of the folders, which hash what is drawn
    }


def _of_lists(root: Path) -> dict[str, Any]:
    """Sources of empty files: nothing but names and lists counts."""
    numbers = [(group, clip) for group in range(1, 6) for clip in (1, 2)]
    names = [(label, f"v_{label}_g{group:02d}_c{clip:02d}") for label in "ABC" for group, clip in numbers]
    part = {name: "test" if "_g01_" in name[1] else "train" for name in names}
    for label, name in names:
        for path in (
            f"clips/{label}/{name}.avi",
            f"parts/{part[label, name]}/{label}/{name}.avi",
            f"kinetics/{label}/{_kinetics(name)}_000000_000010.mp4",
            f"hmdb51/{label}/{_hmdb51(name)}.avi",
        ):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()

    def of(wanted: str) -> list[tuple[str, str]]:
        return [name for name in names if part[name] == wanted]

    lists = {
        "clips.csv": ["path,label,split", *(f"{n[0]}/{n[1]}.avi,{n[0]},{part[n]}" for n in names)],
        "classInd.txt": [f"{number} {label}" for number, label in enumerate("ABC", start=1)],
        "testlist01.txt": [f"{label}/{name}.avi" for label, name in of("test")],
        "trainlist01.txt": [f"{label}/{name}.avi {'ABC'.index(label) + 1}" for label, name in of("train")],
    }
    for c in "ABC":
        lines = [f"{_hmdb51(name)}.avi {1 + (part[label, name] == 'test')}" for label, name in names if label == c]
        lists[f"{c}_test_split1.txt"] = lines
    for list_name, wanted in (("train", "train"), ("val", "test")):
        rows = [f"{label},{_kinetics(name)},0,10,{list_name}" for label, name in of(wanted)]
        lists[f"{list_name}.csv"] = ["label,youtube_id,time_start,time_end,split", *rows]
    for list_name, lines in lists.items():
        (root / list_name).write_text("\n".join(lines) + "\n")
    clips = str(root / "clips")
    return {
        "folder 0": SOURCES["folder"](root=clips),
        "folder 1": SOURCES["folder"](root=clips, seed=1),
        "folder of parts": SOURCES["folder"](root=str(root / "parts")),
        "csv": SOURCES["csv"](annotations=str(root / "clips.csv"), root=clips),
        "ucf101": SOURCES["ucf101"](root=clips, splits=str(root)),
        "hmdb51": SOURCES["hmdb51"](root=str(root / "hmdb51"), splits=str(root)),
        "kinetics": SOURCES["kinetics"](root=str(root / "kinetics"), annotations=str(root), validation=0.2),
    }


def _hmdb51(name: str) -> str:
    _, label, group, clip = name.split("_")
    return f"{group}_{label}_{clip}"


def _kinetics(name: str) -> str:
    return name.rjust(11, "_")  # as long as an id there is


# -------------------------------------------------------------------------------------------------------- parameters

# What networks see of one clip where they do not take 16 frames of 112 x 112.
_SHAPES = {
    "capsnet": (1, 28, 28, 1),
    "capsnet_baseline": (1, 28, 28, 1),
    "capsule_video": (16, 48, 48, 3),
    "i3d": (64, 224, 224, 3),
    "single_frame": (1, 170, 170, 3),
    "early_fusion": (10, 170, 170, 3),
    "late_fusion": (2, 170, 170, 3),
    "slow_fusion": (10, 170, 170, 3),
    "multires": (10, 170, 170, 3),
    "cnn_lstm": (10, 170, 170, 3),
    "flow_cnn": (10, 224, 224, 3),
    "two_stream": (10, 224, 224, 3),
    "siamese": (100, 100, 100, 3),
    "capsule_lstm": (16, 48, 48, 3),
    "pose_lstm": (32, 33, 3),
}
_OPTIONS = {"multires": {"base": "slow_fusion"}}


def parameters() -> dict[str, Any]:
    """Path -> shape of every variable of every network, for 101 classes."""
    return {name: _variables(name) for name in models.MODELS}


def _variables(name: str) -> dict[str, list[int]]:
    model = models.create(name, 101, **_OPTIONS.get(name, {}))
    *shape, channels = _SHAPES.get(name, (32, 112, 112, 3))
    clips = {
        each: jax.ShapeDtypeStruct((1, *shape, 2 if each == "flow" else channels), jnp.float32)
        for each in models.input_names(model)
    }
    with native_operations():  # traced fastest
        variables = jax.eval_shape(lambda clips: model.init(jax.random.key(0), **clips), clips)
    return {path: list(leaf.shape) for path, leaf in sorted(traverse_util.flatten_dict(variables, sep="/").items())}


# ------------------------------------------------------------------------------------------------------------ losses

STEPS = 20
_COMMON = {
    "data.factory": "tests.golden.clips:load",
    "data.crop": 40,
    "data.stride": 1,
    "preprocessing.crop": 32,
    "preprocessing.flip": True,
    "native_convolutions": True,
    "parallel": "jit",
    "train.steps": STEPS,
    "train.batch_size": 4,
    "evaluate.batch_size": 4,
}
SMALL = {
    "early_fusion": ("early_fusion", {"model.width_multiplier": 0.05, "model.normalization": "lrn"}),
    "late_fusion": ("late_fusion", {"model.width_multiplier": 0.05, "preprocessing.brightness": 0.3}),
    "slow_fusion": ("slow_fusion", {"model.width_multiplier": 0.05, "preprocessing.mixup": 0.2}),
    "c3d": ("c3d", {"model.width_multiplier": 0.05, "optimizer.name": "nesterov", "optimizer.l2": 1e-4}),
    "slowfast": ("slowfast", {"data.frames": 8, "model.width": 8, "model.alpha": 4, "model.beta_inverse": 4}),
    "capsules": ("capsule_video", {"preprocessing.rotation": 10.0}),
}


def small_config(name: str) -> Any:
    """One of the six configs whose losses are kept."""
    file, overrides = SMALL[name]
    path, colon, argument = file.partition(":")
    return loading.load(f"{ROOT}/configs/{path}.py{colon}{argument}", {**_COMMON, **overrides})


def losses_of(name: str, dtype: Any) -> list[float]:
    """The loss of each of the first `STEPS` steps; in float64 from the same initial parameters."""
    config = small_config(name)
    with native_operations():
        run = prepare(config)
        state = run.new_state()
        with jax.enable_x64(dtype == jnp.float64):
            run = dataclasses.replace(run, preprocessing=dataclasses.replace(run.preprocessing, dtype=dtype))
            wide = jax.tree.map(lambda x: np.asarray(x, dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, state)
            state, step, found = run.strategy.put_state(wide), run.train_step(), []
            with run.training_batches(0) as batches:
                for _ in range(STEPS):
                    state, metrics = step(state, run.strategy.put_batch(next(batches)))
                    total, count = metrics["loss"]
                    found.append(float(total) / float(count))
    return found


def machine() -> dict[str, str]:
    """What the last bits of a float32 loss depend on."""
    versions = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax", "numpy")}
    return {"kind": compilation_cache.cpu_fingerprint(), "devices": str(jax.device_count()), **versions}


def losses() -> dict[str, Any]:
    """Of six small networks with native convolutions, in float32 and in float64."""
    return {
        "float32": [{"machine": machine(), "losses": {name: losses_of(name, jnp.float32) for name in SMALL}}],
        "float64": {name: losses_of(name, jnp.float64) for name in SMALL},
    }


# --------------------------------------------------------------------------------------------------------------- run


def run_overrides(packed: Path) -> dict[str, Any]:
    """Of the stored run: four frames of a packed set, eight steps, a checkpoint in the middle."""
    return {
        "data.name": "packed",
        "data.root": str(packed),
        "data.frames": 4,
        "data.crop": 24,
        "data.stride": 1,
        "preprocessing.crop": 20,
        "model.width_multiplier": 0.02,
        "optimizer.name": "momentum",  # from which rounding does not grow as from Adam
        "optimizer.learning_rate": 0.05,
        "train.steps": 8,
        "train.batch_size": 4,
        "train.log_every": 2,
        "train.validate_every": 4,
        "checkpoint.every": 4,
        "evaluate.batch_size": 4,
        "evaluate.samples": 0,
        "parallel": "jit",
    }


def write_run() -> None:
    """Trains the stored run and packs the set that it is trained on: `packed/` and `run/`."""
    from vidjax.data.packed.packing import pack
    from vidjax.train import train_and_evaluate

    os.chdir(ROOT)
    packed, workdir = FOLDER / "packed", FOLDER / "run"
    for folder in (packed, workdir):
        shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        clips = _encoded(Path(folder))
        pack(SOURCES["folder"](root=str(clips)), packed)
    config = loading.load("configs/early_fusion.py", run_overrides(packed.relative_to(ROOT)))
    train_and_evaluate(config, workdir.relative_to(ROOT))
    for path in ("tensorboard", "samples", "report.html", ".lock"):
        shutil.rmtree(workdir / path) if (workdir / path).is_dir() else (workdir / path).unlink(missing_ok=True)
    # Orbax and the result say where the run lay, which nothing reads.
    for path in workdir.rglob("commit_success.txt"):
        path.write_text("")
    result = files.read_json(workdir / "result.json")
    files.write_json(workdir / "result.json", {**result, "command": "python -m tests.golden.snapshot --write run"})


def _encoded(folder: Path) -> Path:
    """The clips of `clips.load` as files of 8 frames, in one folder per class."""
    from tests.golden import clips
    from vidjax.data.motion.files import encode

    source = clips.load()
    for video in (*source.train, *source.validation, *source.test):
        place = folder / "clips" / clips.CLASSES[video.label]
        place.mkdir(parents=True, exist_ok=True)
        encode(place / f"{video.id.replace('/', '_')}.avi", video.streams["rgb"].frames[:8, :24, :24])
    return folder / "clips"


# ------------------------------------------------------------------------------------------------------------- files

PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "hashes": hashes,
    "fingerprints": fingerprints,
    "parameters": parameters,
    "losses": losses,
}


def stored(part: str) -> dict[str, Any]:
    """What a golden file holds."""
    return json.loads((FOLDER / f"{part}.json").read_text())


def main(arguments: list[str] | None = None) -> int:
    """Compares or writes; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = [*PARTS, "run"]
    # Not choices=: before CPython 3.12 argparse refuses an empty list of them.
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(known)} (default: all)")
    parser.add_argument("--write", action="store_true", help="write the files")
    chosen = parser.parse_args(arguments)
    status = 0
    if unknown := [part for part in chosen.parts if part not in known]:
        parser.error(f"{unknown[0]!r} is not one of {', '.join(known)}")
    for part in chosen.parts or known:
        if part == "run":
            if chosen.write:
                write_run()
            continue
        now = PARTS[part]()
        if part == "losses" and (FOLDER / "losses.json").exists():  # those of other machines stay
            now["float32"] += [other for other in stored(part)["float32"] if other["machine"] != machine()]
        if chosen.write:
            files.write_text(FOLDER / f"{part}.json", files.to_json(now, sort_keys=True))
        elif now != stored(part):
            status = 1
            print(f"{part}.json differs")
    return status


if __name__ == "__main__":
    sys.exit(main())

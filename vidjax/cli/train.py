r"""Trains and evaluates a video classifier, or runs a whole experiment.

  python launch.py --config=configs/early_fusion.py
      Trains on the embedded data set, evaluates on its test part, writes runs/early_fusion/report.html.

  python launch.py --config=configs/early_fusion.py:ucf101_small --config.data.root=UCF-101 \
      --config.data.splits=ucfTrainTestlist --config.data.split=1
      The word after the colon is the data preset: motion (default), motion_hard, ucf101, ucf101_small, folder
      or kinetics.

  python launch.py --config=FILE --config.optimizer.learning_rate=3e-4 --config.train.steps=2000
      Any key can be set; --help lists them all, with their ranges and meanings.

  python launch.py --config=FILE --workdir=DIR             the same directory resumes an interrupted run
  python launch.py --workdir=DIR --mode=eval --config.evaluate.clips=10
      Evaluates the newest checkpoint of a run, with its stored config and the given changes to config.evaluate.

  python launch.py --experiment=experiments/motion.py --workdir=DIR
      A table over models, seeds and splits; finished runs are not run again. --list shows its runs, --only='*-seed0'
      runs those whose names match.

  python launch.py --config=FILE --help                    its own description, and the values of all its keys

Compiled programs are kept in the user's cache folder ($VIDJAX_CACHE, else ~/.cache/vidjax), at most 2 GB
for each kind of machine; JAX_ENABLE_COMPILATION_CACHE=false turns that off, and JAX_COMPILATION_CACHE_DIR=FOLDER
chooses another folder.

Other commands: python -m vidjax --help
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Never

from absl import app, flags, logging

from vidjax.config import help, loading, overrides
from vidjax.errors import ConfigError, VidjaxError, of_files
from vidjax.system import memory, terminal
from vidjax.system.paths import typed_path
from vidjax.system.termination import recover_lost_interrupts

_CONFIG = flags.DEFINE_string("config", None, "File of the config, e.g. configs/early_fusion.py[:preset].")
_WORKDIR = flags.DEFINE_string("workdir", None, "Run directory. Default: runs/<config name>.")
_MODE = flags.DEFINE_enum("mode", "train", ["train", "eval"], "Train and evaluate, or evaluate the newest checkpoint.")
_EXPERIMENT = flags.DEFINE_string("experiment", None, "File of an experiment, instead of a config.")
_LIST = flags.DEFINE_bool("list", False, "With --experiment: list its runs and their status, then exit.")
_ONLY = flags.DEFINE_string("only", None, "With --experiment: run only the runs whose names match this pattern.")


def main(argv: Sequence[str]) -> int:
    """Does what the parsed flags say; returns the exit status.

    Args:
      argv: program name, and what is left of the command line.

    Raises:
      VidjaxError: for what the user can fix.
    """
    logging.set_verbosity(logging.ERROR)  # Orbax logs dozens of lines for each checkpoint
    terminal.show_warnings()  # of loading a config, too
    typed = [word for word in argv[1:] if word.startswith(overrides.OVERRIDE)]
    others = [word for word in argv[1:] if word not in typed]
    config = None
    if _CONFIG.value is not None and not _EXPERIMENT.value:  # its errors come before seconds of imports
        config = loading.load(_CONFIG.value, overrides.config_overrides(typed))
    # After the flags: these take seconds to import.
    from vidjax import evaluate, train
    from vidjax.experiment import runner
    from vidjax.system import compilation_cache

    compilation_cache.enable()
    workdir = typed_path(_WORKDIR.value) if _WORKDIR.value else None

    if _EXPERIMENT.value:
        if _CONFIG.value is not None or _MODE.value != "train":
            raise ConfigError("--experiment names its configs itself: leave out --config and --mode")
        workdir = workdir or Path("runs/experiments") / Path(_EXPERIMENT.value).stem
        choice = [*(["--list"] if _LIST.value else []), *([f"--only={_ONLY.value}"] if _ONLY.value else [])]
        return runner.main(_EXPERIMENT.value, workdir, [*argv[1:], *choice])
    if _LIST.value or _ONLY.value:
        raise ConfigError("--list and --only belong to --experiment")
    if others:
        raise ConfigError(overrides.unexpected_argument(others[0], is_evaluation=_MODE.value == "eval"))
    if config is None and _MODE.value == "eval" and workdir:
        config, typed = evaluate.stored_config(workdir, overrides.config_overrides(typed)), []
    if config is None and typed:
        raise ConfigError(overrides.unexpected_argument(typed[0], is_evaluation=_MODE.value == "eval"))
    if config is None and workdir and (workdir / "config.json").is_file():
        again = "pass its --config again to resume it, or --mode=eval to evaluate it"
        raise ConfigError(f"--workdir={_WORKDIR.value} holds a run: {again}")
    if config is None:
        raise ConfigError(f"give {'the --workdir of a run' if _MODE.value == 'eval' else '--config or --experiment'}")
    if config.keep_memory:
        memory.retain_freed_memory()
    run = {"train": train.train_and_evaluate, "eval": evaluate.evaluate}[_MODE.value]
    run(config, workdir or overrides.default_workdir(config))
    return 0


def launch(program: str = "launch.py", argv: Sequence[str] | None = None) -> Never:
    """Parses the command line, does what it says and ends the process.

    Args:
      program: as it is typed after "python".
      argv: what follows the program; None: that of the process.
    """
    name = program.removeprefix("-m ")
    argv = [program, *(sys.argv[1:] if argv is None else argv)]
    recover_lost_interrupts()
    try:
        if {"--help", "-help", "-h", "--helpfull"} & set(argv):
            about = help.describe_files(argv) or str(__doc__).replace("python launch.py", f"python {program}")
            print(f"{about}\n\n{help.describe_keys(argv)}", flush=True)
            sys.exit(0)
        app.run(main, argv=argv, flags_parser=overrides.parse_flags)
    except VidjaxError as error:
        sys.exit(f"{name}: {error}")
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if (said := of_files(error)) is None:
            raise
        sys.exit(f"{name}: {said}")
    except KeyboardInterrupt:
        sys.stdout.flush()
        print(
            f"{name}: interrupted; the same command resumes from the newest checkpoint, if there is one",
            file=sys.stderr,
        )
        sys.stderr.flush()
        # Not sys.exit: an interpreter that shuts down while XLA compiles in another thread crashes or hangs.
        os._exit(130)
    sys.exit(0)

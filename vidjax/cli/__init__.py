"""The verbs of `python -m vidjax`: one module each, imported only when its verb is called.

A verb's module has `add_arguments(parser)` and `run(arguments, overrides) -> exit status`, where `overrides` is
what was given as --config.KEY=VALUE. `train` alone has flags of its own, those of `launch.py`.
"""

import argparse
import importlib
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType

from vidjax.errors import ConfigError, VidjaxError, of_files
from vidjax.system.termination import sigterm_to_system_exit

# verb -> what it does, as `--help` shows it; the module has the verb's name, with _ for -.
VERBS = {
    "baselines": "evaluate trivial baselines on a data source: what a network must beat",
    "benchmark": "measure the training speed of a config, and where the time goes",
    "check-data": "inspect video files: which can be read, how fast, and what is wrong with the others",
    "collect": "copy the results of an experiment to results/NAME/, to be committed",
    "doctor": "check versions, devices, caches and decoders on this machine",
    "ensemble": "average the test scores of several finished runs",
    "explain": "show which places of a clip speak for a class (Grad-CAM)",
    "export": "write a trained network as a file that runs without vidjax: StableHLO or ONNX",
    "features": "write the features that a trained network gives of videos",
    "flow": "compute the optical flow of a data set, once",
    "pack": "pack a data set into a few large files, for a pod or an object store",
    "pose": "find the poses in the videos of a data set, once",
    "predict": "classify videos with a run or with published weights",
    "readme": "regenerate the result tables of README.md and docs/, or check that they agree",
    "train": "train and evaluate a config, evaluate a run, or run an experiment: what launch.py does",
    "weights": "list, fetch, import and verify published weights; export those of a run",
    "zero-shot": "evaluate published weights, untrained, on the classes that UCF101 shares with Kinetics",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns its exit status: 0, 1 after an error that the user can fix, 130 when interrupted."""
    argv = list(sys.argv[1:] if argv is None else argv)
    verb = next((word for word in argv if word in VERBS), None)
    if verb == "train":
        from vidjax.cli import train

        argv.remove(verb)
        train.launch("-m vidjax train", argv)
    parser = argparse.ArgumentParser(prog="python -m vidjax", description="All that vidjax does, one verb each.")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, purpose in VERBS.items():
        subparser = verbs.add_parser(name, help=purpose, allow_abbrev=False)
        if name == verb:
            module = _module(name)
            subparser.description = module.__doc__
            subparser.formatter_class = argparse.RawDescriptionHelpFormatter
            module.add_arguments(subparser)
    arguments, rest = parser.parse_known_args(argv)
    try:
        with sigterm_to_system_exit():
            status: int = _module(arguments.verb).run(arguments, _overrides(rest))
            return status
    except VidjaxError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if (said := of_files(error)) is None:
            raise
        print(f"error: {said}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{arguments.verb}: interrupted", file=sys.stderr)
        return 130


def refuse_overrides(verb: str, overrides: Mapping[str, str], reason: str = "") -> None:
    """Refuses --config.KEY=VALUE for a verb that takes none.

    Raises:
      ConfigError: naming the verb, and the reason where there is one.
    """
    if overrides:
        raise ConfigError(f"{verb} takes no --config.KEY=VALUE{reason}")


def _overrides(words: list[str]) -> dict[str, str]:
    if not words:
        return {}
    from vidjax.config.overrides import config_overrides  # needs packages that `doctor` may have to find missing

    return config_overrides(words)


def _module(verb: str) -> ModuleType:
    return importlib.import_module(f"vidjax.cli.{verb.replace('-', '_')}")

"""`python launch.py ...` trains, evaluates or runs an experiment: see `vidjax.cli.train`."""

from vidjax.cli.train import launch

if __name__ == "__main__":
    launch()

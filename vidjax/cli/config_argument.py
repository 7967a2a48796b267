"""The argument that names a config, for the verbs that use its data section."""

import argparse


def add_data_config(parser: argparse.ArgumentParser) -> None:
    """Declares --config."""
    parser.add_argument(
        "--config",
        required=True,
        metavar="FILE[:ARGUMENT]",
        help="config file whose data section is used; --config.KEY=VALUE overrides its keys",
    )

"""Checks whether this machine has what vidjax needs, and says what to do if it has not.

It compares the versions of Python and of all packages with the tested ranges, and checks the devices that JAX finds
(and GPUs that it does not), the caches, the decoders (a video is written and read), and known conflicts between
packages. It works with missing or broken packages. "!" marks what may go wrong, "x" what is required and missing or
broken.

Examples:
  python -m vidjax doctor
  python -m vidjax doctor --json

Exit status 1 if anything required is missing or does not work.
"""

import argparse
import dataclasses
import json
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from vidjax.cli import refuse_overrides
from vidjax.doctor import examination
from vidjax.doctor.findings import OK, PROBLEM, WARNING, Finding
from vidjax.errors import ConfigError

_MARKS = {OK: " ", WARNING: "!", PROBLEM: "x"}
_LABEL = 14  # columns of the names of sections
_NO_BREAK = "\u00a0"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb."""
    parser.add_argument("--json", action="store_true", help="print all findings as JSON")
    parser.add_argument(
        "--timeout",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="time limit of each check (default 120)",
    )


def run(arguments: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Prints what was found; exit status 1 if there is a problem."""
    refuse_overrides("doctor", overrides)
    if not arguments.timeout > 0:
        raise ConfigError(f"--timeout={arguments.timeout:g}: give seconds above 0")
    findings = []
    for section, found in _by_section(examination.examine(arguments.timeout)):
        findings += found
        if not arguments.json:
            print(_shown(section, found), flush=True)
    count = sum(finding.status == PROBLEM for finding in findings)
    if arguments.json:
        print(json.dumps({"ok": not count, "findings": [dataclasses.asdict(each) for each in findings]}, indent=2))
    else:
        problems = "1 problem" if count == 1 else f"{count} problems"
        print(f"\n{problems}, marked x." if count else "\nEverything needed is installed and working.")
    return 1 if count else 0


def _by_section(findings: Iterable[Finding]) -> Iterable[tuple[str, list[Finding]]]:
    """The findings of each section, as soon as it is complete; of "combinations" also when there are none."""
    section = "python"
    found: list[Finding] = []
    for finding in findings:
        if finding.section != section:
            yield section, found
            section, found = finding.section, []
        found.append(finding)
    yield section, found
    if section != "combinations":
        yield "combinations", []


def _shown(section: str, findings: Sequence[Finding]) -> str:
    lines = []
    if section == "python":
        lines = [(each.status, f"Python {each.version}, {each.text} (tested: {each.tested})") for each in findings]
    elif section == "packages":  # what is alike in one paragraph
        fine = [f"{each.name} {each.version}".replace(" ", _NO_BREAK) for each in findings if each.status == OK]
        lines = [(OK, f"{', '.join(fine)}: as tested")] if fine else []
        for status, text in dict.fromkeys((each.status, each.text) for each in findings if each.status != OK):
            names = [each.name for each in findings if (each.status, each.text) == (status, text)]
            lines.append((status, f"{', '.join(names)}: {text}"))
    else:
        lines = [
            (each.status, f"{each.name} {each.version}: {each.text}" if each.version else f"{each.name}: {each.text}")
            for each in findings
        ]
    shown = "\n".join(_paragraph(*line) for line in lines or [(OK, "no known conflicts")])
    return section.ljust(_LABEL) + shown[_LABEL:]


def _paragraph(status: str, text: str) -> str:
    """The text, indented, with its mark before it."""
    width = min(max(shutil.get_terminal_size((120, 24)).columns, 60), 120)
    indent = " " * (_LABEL + 2)
    shown = textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    return (" " * _LABEL + _MARKS[status] + shown[_LABEL + 1 :]).replace(_NO_BREAK, " ")

"""Findings of the doctor."""

import dataclasses

OK, WARNING, PROBLEM = "ok", "warning", "problem"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was examined.

    Attributes:
      section: "python", "packages", "devices", "caches", "decoders" or "combinations".
      name: of the thing.
      status: "ok"; "warning" for what may go wrong; "problem" for what is needed and missing or broken.
      text: what was found and, unless it is ok, what to do.
      version: installed; None where there is none.
      tested: range of versions, as in requirements.txt; None where there is none.
    """

    section: str
    name: str
    status: str
    text: str
    version: str | None = None
    tested: str | None = None

"""Suggestions for misspelled names."""

import difflib
from collections.abc import Iterable


def closest_match(name: str, candidates: Iterable[str]) -> str | None:
    """Returns the candidate that `name` may be a slip of, or None: a wrong guess costs more than none."""
    plain = {candidate.lower().replace("-", "_"): candidate for candidate in candidates}
    found = difflib.get_close_matches(name.lower().replace("-", "_"), plain, n=1, cutoff=0.75)
    return plain[found[0]] if found else None


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Returns "; did you mean 'x'?" for the candidate that `name` may be a slip of, or "" where there is none."""
    found = closest_match(name, candidates)
    return f"; did you mean {found!r}?" if found is not None else ""

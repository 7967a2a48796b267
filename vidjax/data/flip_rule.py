"""The flip rule: what a horizontal flip does to the classes of a data set."""

from typing import Annotated, Literal

from vidjax.data.inputs import Input
from vidjax.errors import OptionError
from vidjax.options.declaring import Option

# What a horizontal flip does to the classes: nothing ("invariant"), it exchanges them (a permutation:
# class k becomes class mirror[k]), it must not be used ("forbidden"), or nobody has said (None).
FlipRule = Literal["invariant", "forbidden"] | tuple[int, ...] | None
# The part of it that a user can give, as an option of a source.
FlipRuleOption = Annotated[
    str | None, Option("what a mirror image does to the classes", choices=("invariant", "forbidden"))
]


def check_flip_rule(source: str, mirror: str | None) -> None:
    """Refuses a rule for mirror images that a user cannot give.

    Raises:
      ConfigError: naming the source and the value.
    """
    if mirror not in (None, "invariant", "forbidden"):
        raise OptionError(f"{source}: {{mirror}} is {mirror!r}; it must be 'invariant' or 'forbidden'", ["mirror"])


def why_flip_not_allowed(mirror: FlipRule, inputs: tuple[Input, ...] = ()) -> str | None:
    """Why mirroring is not allowed, by the rules of the data source and of the inputs; None if it is."""
    if mirror is None:
        return "this data source does not state how mirroring changes its classes"
    if mirror == "forbidden":
        return "this data source forbids mirror images"
    fixed = [each.stream_name for each in inputs if each.mirror == "forbidden"]
    return f"{fixed[0]} must not be mirrored" if fixed else None

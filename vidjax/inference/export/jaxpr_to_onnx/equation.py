"""What a rule is given of an equation of a jaxpr."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from vidjax.errors import ExportError
from vidjax.inference.export.jaxpr_to_onnx.graph import Graph, Value


class Equation(NamedTuple):
    """An equation whose inputs have been converted.

    Attributes:
      primitive: its name.
      values: of the inputs.
      inputs, outputs: their shapes and types.
      parameters: of the primitive.
      place: the modules in which it was traced, or "".
    """

    primitive: str
    values: Sequence[Value]
    inputs: Sequence[Any]
    outputs: Sequence[Any]
    parameters: Mapping[str, Any]
    place: str

    def refuse(self, what: str = "") -> NoReturn:
        """Refuses a primitive, or `what` of it.

        Raises:
          ExportError: always.
        """
        place = f" (in {self.place})" if self.place else ""
        raise ExportError(f"ONNX: the primitive {self.primitive}{what and f' with {what}'} cannot be exported{place}")

    def require(self, **accepted: Any) -> None:
        """Refuses parameters that have other values than these, by name.

        Raises:
          ExportError: naming the first of them.
        """
        for name, value in accepted.items():
            given = self.parameters.get(name, value)
            if given != value:
                self.refuse(f"{name}={given}")


# Adds nodes for an equation; returns the value of its output, or a list of those.
Rule = Callable[[Graph, Equation], Value | list[Value]]

"""Options that several sources have."""

from typing import Annotated

from vidjax.options.declaring import Option

Validation = Annotated[float, Option("share of the training part that is held out (by group)", above=0, below=1)]
AllowMissing = Annotated[bool, Option("of listed clips: work on those that are there, and say how many are not")]
Split = Annotated[int, Option("number of the official split", at_least=1, at_most=3)]

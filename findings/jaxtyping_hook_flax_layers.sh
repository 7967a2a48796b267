#!/bin/bash
# A module that subclasses Flax's Conv or Dense cannot be imported under jaxtyping's import hook with beartype, and with
# typeguard the hook leaves the methods of Flax modules unchecked.
#
# jaxtyping 0.3.11, beartype 0.23.1, typeguard 4.6.1, flax 0.12.8, jax 0.10.2, CPython 3.11, x86-64. Seen: a class that
# only overrides __call__ of flax.linen.Conv or flax.linen.Dense, with no shape in it. Within
# jaxtyping.install_import_hook("layers", "beartype.beartype") the import raises BeartypeDecorHintPep3119Exception about
# the parameter promote_dtype of __init__: the hook also decorates the __init__ that dataclasses generate from inherited
# fields, and Flax types that field by a Protocol which is not runtime_checkable. A class of one's own fields, a plain
# nn.Module, is imported and checked. With "typeguard.typechecked" all are imported, but typeguard warns that it did not
# find the functions, and a wrong argument passes in all three.
#
# So shapes in a Flax codebase are checked by a decorator that leaves __init__ alone, handed to the hook in beartype's
# place.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6 flax==0.12.8 \
    jaxtyping==0.3.11 beartype==0.23.1 typeguard==4.6.1
cd "$folder"
for base in Conv Dense Module; do
    cat >"layers_$base.py" <<END
import flax.linen as nn
import jax


class Layer(nn.$base):
    def __call__(self, x: jax.Array) -> jax.Array:
        return x
END
done
cat >check.py <<'END'
import importlib
import sys
import warnings

import flax
import jaxtyping

warnings.simplefilter("ignore")
checker, base = sys.argv[1:]
arguments = {"Conv": (3, (3, 3)), "Dense": (3,), "Module": ()}[base]
with jaxtyping.install_import_hook(f"layers_{base}", checker):
    try:
        layer = importlib.import_module(f"layers_{base}").Layer(*arguments)
    except Exception as error:
        outcome = f"not imported: {type(error).__name__}"
    else:
        try:
            outcome = f"a wrong argument passes: {layer.apply({}, 'no array')!r}"
        except Exception as error:
            outcome = f"a wrong argument is refused: {type(error).__name__}"
print(f"flax {flax.__version__}, jaxtyping {jaxtyping.__version__}, {checker}, nn.{base}: {outcome}")
END
export JAX_PLATFORMS=cpu
for checker in beartype.beartype typeguard.typechecked; do
    for base in Conv Dense Module; do venv/bin/python check.py "$checker" "$base"; done
done | tee seen
[ "$(grep -c 'beartype, nn.\(Conv\|Dense\): not imported: BeartypeDecorHintPep3119Exception' seen)" = 2 ]
grep -q 'beartype, nn.Module: a wrong argument is refused' seen
[ "$(grep -c 'typechecked, nn.[A-Z][a-z]*: a wrong argument passes' seen)" = 3 ]

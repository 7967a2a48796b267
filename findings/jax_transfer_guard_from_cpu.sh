#!/bin/bash
# JAX's guard against transfers from device to host refuses nothing on a CPU, though that against the other way does.
#
# jax 0.10.2, jaxlib 0.10.2, NumPy 2.4.6, CPython 3.11, x86-64 (jax 0.12.0.1 on CPython 3.13 too, without str and the other direction). Seen: within
# jax.transfer_guard_device_to_host("disallow"), and even within "disallow_explicit", float(x), x.item(), np.asarray(x),
# str(x) and jax.device_get(x) all give their value; within jax.transfer_guard_host_to_device("disallow") a NumPy argument
# of a compiled function is refused with a RuntimeError. JAX's page on transfer guards, seen in 2026, says that a
# transfer which is disallowed raises, and names no device for which it does not; on a CPU the array is the host's memory.
#
# So a test on a CPU that runs a training loop under the guard, to show that it never fetches a number from the device,
# passes whatever the loop does.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cat >"$folder/guard.py" <<'END'
import jax
import numpy as np

x = jax.block_until_ready(jax.device_put(np.float32(3)))
fetches = {
    "float(x)": lambda: float(x * 1),
    "x.item()": lambda: (x * 1).item(),
    "np.asarray(x)": lambda: np.asarray(x * 1),
    "str(x)": lambda: str(x * 1),
    "jax.device_get(x)": lambda: jax.device_get(x * 1),
}
double = jax.jit(lambda a: a + a)
double(x)
refused = []


def attempt(name, action):
    try:
        action()
        print(f"{name}: allowed")
    except RuntimeError as error:
        refused.append(name)
        print(f"{name}: refused, {str(error).splitlines()[0][:70]}")


for action in fetches.values():
    action()  # compiled outside of the guards
for level in ("disallow", "disallow_explicit"):
    with jax.transfer_guard_device_to_host(level):
        for name, action in fetches.items():
            attempt(f"device to host, {level}: {name}", action)
with jax.transfer_guard_host_to_device("disallow"):
    attempt("host to device, disallow: double(np.float32(3))", lambda: double(np.float32(3)))
print(jax.__version__, jax.devices()[0].platform)
assert refused == ["host to device, disallow: double(np.float32(3))"], refused
END
JAX_PLATFORMS=cpu "$folder/venv/bin/python" "$folder/guard.py"

#!/bin/bash
# In Keras' .weights.h5 the number of a layer is neither that of its name nor the order in which it was made.
#
# Keras 3.15.1 (JAX backend, jax 0.10.2), h5py 3.16.0, CPython 3.11. Seen: of two convolutions in parallel the one that
# was made second, conv2d_1, is followed by two more layers before they are added. save_weights stores its kernel at
# layers/conv2d, and that of the first at layers/conv2d_1: numbers follow the order in which the model lists its layers,
# those furthest from the output first. Only the attribute "name" of the group "vars" within has the true name.
#
# So whoever reads such a file by the names that model.summary() prints takes the weights of another layer of the same
# class, and where shapes agree nothing fails.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check keras==3.15.1 jax==0.10.2 jaxlib==0.10.2 h5py==3.16.0
cat >"$folder/order.py" <<'END'
import os

os.environ["KERAS_BACKEND"] = "jax"
import h5py
import keras
import numpy as np

keras.utils.clear_session()
x = keras.Input((8, 8, 3))
short = keras.layers.Conv2D(4, 1)  # made first, and so named conv2d
a = short(x)
long = keras.layers.Conv2D(4, 1)  # conv2d_1
b = keras.layers.ReLU()(keras.layers.ReLU()(long(x)))
model = keras.Model(x, keras.layers.Add()([a, b]))
short.set_weights([np.full((1, 1, 3, 4), 1.0), np.zeros(4)])
long.set_weights([np.full((1, 1, 3, 4), 2.0), np.zeros(4)])
print("Keras", keras.__version__, "names:", short.name, "(kernel 1)", long.name, "(kernel 2)")
model.save_weights("model.weights.h5")
with h5py.File("model.weights.h5") as file:
    found = {}
    for place in ("conv2d", "conv2d_1"):
        group = file["layers"][place]
        found[place] = float(group["vars"]["0"][0, 0, 0, 0])
        print(f"layers/{place}: kernel {found[place]:g}, attribute name of its vars: {group['vars'].attrs['name']}")
        found[place, "name"] = group["vars"].attrs["name"]
assert (short.name, long.name) == ("conv2d", "conv2d_1")
expected = {"conv2d": 2.0, "conv2d_1": 1.0, ("conv2d", "name"): "conv2d_1", ("conv2d_1", "name"): "conv2d"}
assert found == expected, found
END
cd "$folder" && "$folder/venv/bin/python" order.py

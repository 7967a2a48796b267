#!/bin/bash
# OpenCV's Farneback flow takes float images, and of values in 0..1 says that nothing moves, without an error.
#
# opencv-contrib-python-headless 4.14.0.94, NumPy 2.4.6, CPython 3.11. Seen: of a blurred random texture that moves by
# 3 pixels to the right, calcOpticalFlowFarneback gives 3 pixels for uint8 frames and for the same numbers as float32
# in 0..255, and less than a thousandth of a pixel everywhere for float32 in 0..1, as images often are in Python. The
# documentation calls the inputs 8-bit, the function refuses no float, and a network that is trained on such flow sees
# nothing.
# Its sister for the same purpose, DIS, refuses floats with an error.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check opencv-contrib-python-headless==4.14.0.94 numpy==2.4.6
"$folder/venv/bin/python" - <<'END'
import cv2
import numpy as np

print("OpenCV", cv2.__version__, "NumPy", np.__version__)
noise = np.random.default_rng(0).normal(size=(96, 140)).astype(np.float32)
texture = cv2.GaussianBlur(noise, (0, 0), 2)
texture = np.clip(128 + 60 * texture / texture.std(), 0, 255).astype(np.uint8)
first, second = texture[:, 20:120], texture[:, 17:117]


def motion(scale, kind):
    pair = [(frame * scale).astype(kind) for frame in (first, second)]
    flow = cv2.calcOpticalFlowFarneback(*pair, None, 0.5, 3, 15, 3, 5, 1.2, 0)[10:-10, 10:-10, 0]
    return float(np.median(flow)), float(np.abs(flow).max())


found = {"uint8": motion(1, np.uint8), "float 0..255": motion(1.0, np.float32), "float 0..1": motion(1 / 255, np.float32)}
for name, (median, largest) in found.items():
    print(f"{name}: median {median:.4f} pixels, largest {largest:.4f}")
assert abs(found["uint8"][0] - 3) < 0.2 and abs(found["float 0..255"][0] - 3) < 0.2, found
assert found["float 0..1"][1] < 1e-3, found
try:
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    dis.calc(first.astype(np.float32), second.astype(np.float32), None)
except cv2.error as error:
    print("DIS of floats:", error.err)
else:
    raise SystemExit("DIS takes floats now")
END

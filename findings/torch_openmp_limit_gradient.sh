#!/bin/bash
# With a limit on OpenMP's threads, PyTorch on a CPU computes half of a convolution's kernel gradient, and says nothing.
#
# torch 2.13.0 (with its own oneDNN and OpenMP), NumPy 2.4.6, CPython 3.11, x86-64 with AVX-512. Seen: a
# 3x3 convolution 64 -> 64 of ones [4, 64, 28, 28], whose gradient at the middle tap is 4 * 28 * 28 = 3136 everywhere
# (integers, so exact in float32 in any order). It is with 2 threads as they are; with OMP_THREAD_LIMIT=1 in the
# environment and torch.set_num_threads(2), half of the features have a gradient of 0, without a warning or an error;
# torch.get_num_threads() still says 2, and the forward pass and the gradient of a linear layer are right.
# OMP_DYNAMIC=true did the same on this machine, and another layer never returned under these settings (pytorch issue
# 91547 tells of such a hang, not of wrong values). It fits that the sum is divided among as many threads as were asked
# for, while OpenMP gives fewer. Batch systems and containers set such limits.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat >"$folder/gradient.py" <<'END'
import torch

torch.set_num_threads(2)
convolution = torch.nn.Conv2d(64, 64, 3, padding=1, bias=False)
y = convolution(torch.ones(4, 64, 28, 28))
y.backward(torch.ones_like(y))
middle = convolution.weight.grad[:, :, 1, 1]
print(int((middle == 4 * 28 * 28).sum()), "of", middle.numel(), "right, smallest", middle.min().item())
END
python="$folder/venv/bin/python"
"$python" -c "import torch; print('torch', torch.__version__)"
unlimited=$(env -u OMP_THREAD_LIMIT -u OMP_DYNAMIC -u OMP_NUM_THREADS "$python" "$folder/gradient.py")
limited=$(env -u OMP_DYNAMIC -u OMP_NUM_THREADS OMP_THREAD_LIMIT=1 timeout 120 "$python" "$folder/gradient.py") ||
    limited="$limited(status $?; 124: stopped after two minutes)"
echo "as it is: $unlimited"
echo "OMP_THREAD_LIMIT=1: $limited"
test "$unlimited" = "4096 of 4096 right, smallest 3136.0"
test "${limited%% *}" -lt 4096

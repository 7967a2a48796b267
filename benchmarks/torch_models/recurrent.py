"""An LSTM with a classifier of its last state, in PyTorch. Sequences are [B, T, D], logits [B, 1, K]."""

from torch import Tensor, nn


class LSTMClassifier(nn.Module):
    """One layer; of PyTorch's two biases, which are summed, the first is fixed at 0."""

    def __init__(self, num_classes: int, inputs: int, features: int):
        super().__init__()
        self.lstm = nn.LSTM(inputs, features, batch_first=True)
        bias = self.lstm.get_parameter("bias_ih_l0")
        nn.init.zeros_(bias).requires_grad_(False)
        self.classes = nn.Linear(features, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classes(self.lstm(x)[0][:, -1:])

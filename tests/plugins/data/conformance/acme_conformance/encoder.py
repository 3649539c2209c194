import torch
from torch import nn

from calve.api import StreamingGeometry

WIDTH, SHIFT = 7, 4


class SoundEncoder(nn.Module):
    """A strided convolution, then a GRU; ``processed`` counts the frames that it gave."""

    state_batch_axis = 1
    feature_dim = 80

    def __init__(self, config):
        super().__init__()
        self.geometry = StreamingGeometry(SHIFT, WIDTH - SHIFT, SHIFT)
        self.output_dim = config.dim
        self.front = nn.Conv1d(self.feature_dim, config.dim, WIDTH, SHIFT)
        self.gru = nn.GRU(config.dim, config.dim, batch_first=True)

    def forward(self, x, x_lens):
        return self.gru(self.embed(x))[0], self.count(x_lens)

    def init_states(self, batch_size):
        new_zeros = self.front.weight.new_zeros
        return {
            "hidden": new_zeros(1, batch_size, self.output_dim),
            "processed": new_zeros(1, batch_size),
        }

    def stream(self, x, x_lens, states):
        y, hidden = self.gru(self.embed(x), states["hidden"])
        processed = states["processed"] + y.size(1)
        return y, self.count(x_lens), {"hidden": hidden, "processed": processed}

    def embed(self, x):
        return self.front(x.transpose(1, 2)).transpose(1, 2).tanh()

    def count(self, x_lens):
        return torch.div(x_lens - (WIDTH - SHIFT), SHIFT, rounding_mode="floor")

"""Run by k2's Python: the lattices of `calve_k2` for the golden networks.

Usage: fast_beam_child.py PATH/TO/calve_k2/walking.py PATH/TO/recipe.decoding.pt OUTPUT.pt
Frames are fed in pieces of seven, so that streams leave the group at different times. Writes, for
every case of `fast_beam_search_trivial`, the columns of each utterance's lattice.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location

import torch


class Networks:
    """icefall's decoder and joiner on its scaled weights."""

    def __init__(self, state):
        self.state = state

    def scaled(self, name, scale):
        return self.state[name] * self.state[scale].exp()

    def decode(self, contexts):
        embedded = self.scaled("decoder.embedding.weight", "decoder.embedding.scale")[contexts]
        weight = self.scaled("decoder.conv.weight", "decoder.conv.weight_scale")
        groups = embedded.shape[2] // weight.shape[1]
        out = torch.nn.functional.conv1d(embedded.transpose(1, 2), weight, groups=groups)
        return self.linear("joiner.decoder_proj", out.squeeze(2).relu())

    def linear(self, name, x):
        weight = self.scaled(name + ".weight", name + ".weight_scale")
        return x @ weight.T + self.scaled(name + ".bias", name + ".bias_scale")

    def log_probs(self, frames, contexts):
        joined = self.linear("joiner.encoder_proj", frames) + self.decode(contexts)
        return self.linear("joiner.output_linear", joined.tanh()).log_softmax(1)


def trivial_graph(vocab_size):
    """The columns of `calve_graphs.graph.trivial_graph`."""
    label = torch.arange(1, vocab_size + 1, dtype=torch.int32)
    label[-1] = -1
    splits = torch.tensor([0, vocab_size, vocab_size], dtype=torch.int32)
    columns = splits, (label == -1).int(), label, torch.zeros(vocab_size)
    return [column.numpy() for column in columns]


def lattices(walker_class, golden, networks, case):
    walker = walker_class(
        *trivial_graph(golden["vocab_size"]),
        vocab_size=golden["vocab_size"],
        context_size=golden["context_size"],
        beam=case["beam"],
        max_contexts=case["max_contexts"],
        max_states=case["max_states"],
    )
    lengths = golden["encoder_out_lens"]
    streams = [walker.start() for _ in lengths]
    for start in range(0, int(lengths.max()), 7):
        walk = walker.walk(streams)
        for time in range(start, min(start + 7, int(lengths.max()))):
            owners, contexts = walk.contexts((time < lengths).nonzero().flatten().numpy())
            frames = golden["encoder_out"][torch.from_numpy(owners), time]
            walk.advance(networks.log_probs(frames, torch.from_numpy(contexts)).numpy())
        walk.finish()
    found = [walker.lattice(stream, allow_partial=False) for stream in streams]
    return [[torch.from_numpy(column) for column in one[:4]] + [one[4]] for one in found]


def main(module_path, golden_path, output):
    spec = spec_from_file_location("walking", module_path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    golden = torch.load(golden_path)
    networks = Networks(golden["state_dict"])
    cases = golden["fast_beam_search_trivial"]
    torch.save([lattices(module.K2Walker, golden, networks, case) for case in cases], output)


if __name__ == "__main__":
    with torch.no_grad():
        main(*sys.argv[1:])

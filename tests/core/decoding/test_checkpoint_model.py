"""A checkpoint as a model that recognizes."""

from __future__ import annotations

import json
from pathlib import Path

from calve.decoding.checkpoint_model import CheckpointModel
from calve.models.checkpoints import CheckpointChoice


def test_a_fingerprint_is_the_same_after_it_was_written_to_a_file(tmp_path: Path):
    (tmp_path / "epoch-1.pt").touch()
    options = {"num_layers": (2, 4), "cache": Path("cache"), "causal": True, "limit": None}
    choice = CheckpointChoice(exp_dir=tmp_path, epoch=1)
    fingerprint = CheckpointModel("acme", choice, {"encoder": options}).fingerprint()
    assert json.loads(json.dumps(fingerprint)) == fingerprint
    for name, other in (("num_layers", (2, 5)), ("causal", False), ("limit", 3)):
        changed = CheckpointModel("acme", choice, {"encoder": {**options, name: other}})
        assert changed.fingerprint() != fingerprint

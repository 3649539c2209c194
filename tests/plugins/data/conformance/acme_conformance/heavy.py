import torch  # noqa: F401

from acme_conformance.config import SoundConfig, infer_config  # noqa: F401

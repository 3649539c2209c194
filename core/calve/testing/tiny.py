"""Very small random models for tests and the capability matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calve.bundles.golden import pcm_samples
from calve.bundles.observation import observe
from calve.data.features import FeatureConfig, compute_fbank
from calve.data.tokens import SymbolTable
from calve.errors import PluginError
from calve.exporting.golden import golden_pcm, observe_offline
from calve.models.live import live_runtime
from calve.models.loading import ModelBuilder
from calve.protocols.states import streaming_obstacle

if TYPE_CHECKING:
    import torch

__all__ = ["TinyModel", "make_tiny_model"]

_SPECIAL_SYMBOLS = ("<blk>", "<sos/eos>", "<unk>")
_MIN_WORDS = 3
_SEEDS = 100


@dataclass(frozen=True)
class TinyModel:
    """A model with random weights that nevertheless emits symbols.

    Attributes:
      recipe: Name of its recipe.
      model: The module, in eval mode.
      config: The resolved dataclasses by table: "encoder" and "model".
      symbols: Symbol table of its vocabulary; the symbols are words.
    """

    recipe: str
    model: torch.nn.Module
    config: dict[str, Any]
    symbols: SymbolTable

    @property
    def options(self) -> dict[str, dict[str, Any]]:
        """All options by table, as `calve.models.loading.load` takes them."""
        return {table: asdict(config) for table, config in self.config.items()}

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write a checkpoint and its tokens.txt; returns both paths."""
        import torch

        checkpoint, tokens = folder / "tiny.pt", folder / "tokens.txt"
        torch.save({"model": self.model.state_dict()}, checkpoint)
        self.symbols.write(tokens)
        return checkpoint, tokens


def make_tiny_model(recipe: str, encoder_options: Mapping[str, Any] | None = None) -> TinyModel:
    """Make the same model in every run: the first seed whose model finds some words.

    Args:
      recipe: Name of a registered recipe.
      encoder_options: Options of the encoder, instead of those in its spec's ``tiny``.

    Raises:
      ConfigError: if the options do not fit the encoder.
      PluginError: if the recipe is not usable, or if its models emit nothing, which would make
        comparisons of runtimes meaningless.
    """
    import torch

    builder = ModelBuilder(recipe)
    options = builder.encoder.tiny if encoder_options is None else encoder_options
    config = builder.resolve({"encoder": options, "model": builder.family.tiny})
    for seed in range(_SEEDS):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = builder.build(config).eval()
        if _words_found(builder, model) >= _MIN_WORDS:
            return TinyModel(recipe, model, config, _symbols(config["model"].vocab_size))
    raise PluginError(
        f"none of {_SEEDS} random models of recipe {recipe} finds {_MIN_WORDS} different symbols",
        fix="give other options in EncoderSpec.tiny; wider layers vary more",
    )


def _words_found(builder: ModelBuilder, model: Any) -> int:
    """How many different words greedy search finds in what exports are checked on."""
    features = FeatureConfig(num_mel_bins=model.encoder.feature_dim)
    samples = pcm_samples(golden_pcm(builder.recipe, features.sample_rate))
    session = live_runtime(model).open(model)
    frames = compute_fbank(samples, features)
    observed = (
        observe(session, frames, model.encoder.geometry)
        if streaming_obstacle(model.encoder) is None
        else observe_offline(session, frames)
    )
    return sum(token >= len(_SPECIAL_SYMBOLS) for token in set(observed.tokens))


def _symbols(vocab_size: int) -> SymbolTable:
    words = tuple(f"▁word{index}" for index in range(len(_SPECIAL_SYMBOLS), vocab_size))
    return SymbolTable((*_SPECIAL_SYMBOLS, *words)[:vocab_size])

"""The codec: audio to codes and back, one separate autoencoder for each level."""

from orchestrion.codec.model import Codec

__all__ = ["Codec"]

"""The map: artists and genres as a model learned them, and songs as it hears them, each as points of a plane.

(Paper, section 5.3: t-SNE of the artist and genre embeddings, van der Maaten & Hinton 2008.)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from orchestrion.audio import io
from orchestrion.config import Settings
from orchestrion.errors import UserError
from orchestrion.jukebox.listener import Listener
from orchestrion.jukebox.model import Jukebox

HEARD_SECONDS = 20.0
"""Of a song, from its beginning."""
_PERPLEXITY = 30.0


class Point(Settings):
    """A place on the map; the plane is [-1, 1] in both directions."""

    kind: Literal["artist", "genre", "song"]
    name: str
    x: float
    y: float


def label_points(jukebox: Jukebox) -> list[Point]:
    """The artists and the genres of a model, by the vectors that its top prior learned for them."""
    vocabulary = jukebox.info.vocabulary
    labels = jukebox.label_vectors()
    if labels is None or not vocabulary.artists:
        return []
    artists, genres = labels
    named: list[tuple[Literal["artist", "genre"], str]] = [
        *(("artist", name) for name in vocabulary.artists),
        *(("genre", name) for name in vocabulary.genres),
    ]
    vectors = torch.cat([artists[1:], genres[1:]])  # 0 is nobody in particular
    return [Point(kind=kind, name=name, x=x, y=y) for (kind, name), (x, y) in zip(named, plane(vectors), strict=True)]


def song_points(vectors: Sequence[Float[Tensor, " width"]], names: Sequence[str] | None = None) -> list[Point]:
    """Songs by their vectors (`song_vector`)."""
    if not vectors:
        return []
    places = plane(torch.stack(list(vectors)))
    return [
        Point(kind="song", name=name, x=x, y=y)
        for name, (x, y) in zip(names or [""] * len(places), places, strict=True)
    ]


def song_vector(listener: Listener, audio: Path) -> Float[Tensor, " width"]:
    """What the top prior makes of the beginning of a song; UserError for a file that cannot be read."""
    codec = listener.info.codec
    seconds = min(HEARD_SECONDS, io.probe(audio).seconds)
    return listener.features(io.read(audio, codec.sample_rate, codec.channels, seconds=seconds), codec.sample_rate)


def plane(vectors: Float[Tensor, "item width"]) -> list[tuple[float, float]]:
    """Where the items lie in the plane: neighbours are neighbours. The same vectors give the same places."""
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise UserError("the map needs scikit-learn", 'install it: pip install "orchestrion[studio]"') from error
    count = len(vectors)
    if count < 4:
        return [(float(x), 0.0) for x in np.linspace(-0.5, 0.5, count)]
    exact = vectors.double().cpu().numpy()
    exact = (exact - exact.mean(0)) / max(float(exact.std()), 1e-12)
    found = TSNE(perplexity=min(_PERPLEXITY, (count - 1) / 3), init="pca", random_state=0).fit_transform(exact)
    found = found - found.mean(0)
    found = found / max(float(np.abs(found).max()), 1e-12)
    return [(round(float(x), 4), round(float(y), 4)) for x, y in found]

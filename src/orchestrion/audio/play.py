"""Playing sound as it comes, through sounddevice where the extra `play` is installed."""

import queue
import threading
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from orchestrion.errors import UserError


class Player:
    """Plays pieces one after another in the background, while the next are made.

    UserError, before anything is made, where no sound can be played. `finish` waits for the end, `close` does not.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._stream = _output(sample_rate, channels)
        self._pieces: queue.SimpleQueue[NDArray[np.float32] | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def put(self, piece: Float[Tensor, "channel sample"]) -> None:
        """Play this after all that was given before."""
        self._pieces.put(np.ascontiguousarray(piece.T.numpy(), dtype=np.float32))

    def finish(self) -> None:
        """Wait until all is heard."""
        self._pieces.put(None)
        self._thread.join()
        self._stream.stop()
        self._stream.close()

    def close(self) -> None:
        """Stop at once."""
        self._closed = True
        self._pieces.put(None)
        self._stream.abort()
        self._thread.join(timeout=1)
        self._stream.close()

    def _run(self) -> None:
        while (piece := self._pieces.get()) is not None and not self._closed:
            self._stream.write(piece)


def _output(sample_rate: int, channels: int) -> Any:
    """An open stream to the loudspeaker."""
    try:
        import sounddevice  # an extra: everything else works without it
    except ImportError as error:
        raise UserError("playing needs sounddevice", 'install it: pip install "orchestrion[play]"') from error
    except OSError as error:
        raise UserError("playing needs the library PortAudio", "install it: apt-get install libportaudio2") from error
    try:
        stream = sounddevice.OutputStream(samplerate=sample_rate, channels=channels, dtype="float32", latency="high")
        stream.start()
    except sounddevice.PortAudioError as error:
        raise UserError(f"no sound can be played here: {error}", "leave --play out, and open the file") from error
    return stream

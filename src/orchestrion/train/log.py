"""What a run writes down as it goes: numbers as JSON lines and for TensorBoard, sounds and pictures."""

import json
import logging
import re
import time
from pathlib import Path
from typing import Any

from orchestrion.files import explained, write_text

logger = logging.getLogger(__name__)

METRICS, FINDINGS = "metrics.jsonl", "findings.txt"


def read_metrics(folder: Path) -> list[dict[str, int | float]]:
    """What the run in `folder` wrote down so far: for each record, `step` and its numbers by name."""
    path = folder / METRICS
    with explained(path, "read"):
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class RunLog:
    """The growing record of one run; a resumed run cuts what came after its checkpoint and goes on."""

    def __init__(self, folder: Path, first_step: int) -> None:
        self.folder = folder
        self._path = folder / METRICS
        self._started = time.monotonic()
        self._keep_before(first_step)
        self._board = _tensorboard(folder / "tensorboard", first_step)

    def _keep_before(self, step: int) -> None:
        for path, step_of in ((self._path, _step_of_record), (self.folder / FINDINGS, _step_of_finding)):
            if path.exists():
                lines = path.read_text(encoding="utf-8").splitlines()
                kept = [line for line in lines if (found := step_of(line)) is not None and found < step]
                if kept != lines:
                    write_text(path, "".join(f"{line}\n" for line in kept))

    def numbers(self, step: int, metrics: dict[str, float]) -> None:
        with explained(self._path, "write"), self._path.open("a", encoding="utf-8") as file:
            record: dict[str, Any] = {"step": step, **{k: round(v, 6) for k, v in metrics.items()}}
            file.write(json.dumps(record) + "\n")
        if self._board is not None:
            for name, value in metrics.items():
                self._board.add_scalar(name, value, step)

    def finding(self, step: int, sentence: str) -> None:
        """A plain sentence about what is wrong, to the log and to the findings."""
        logger.warning("step %d: %s", step, sentence)
        path = self.folder / FINDINGS
        with explained(path, "write"), path.open("a", encoding="utf-8") as file:
            file.write(f"step {step}: {sentence}\n")

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


def _step_of_record(line: str) -> int | None:
    """None for a line that is cut short."""
    return int(json.loads(line)["step"]) if line.endswith("}") else None


def _step_of_finding(line: str) -> int | None:
    """Likewise."""
    found = re.match(r"step (\d+): ", line)
    return int(found[1]) if found else None


def _tensorboard(folder: Path, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        logger.warning("no TensorBoard logs are written: pip install 'orchestrion[train]' adds them")
        return None
    return SummaryWriter(str(folder), purge_step=first_step)

"""Run by several processes at once: trains what a file of JSON lists, each entry in its folder."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import tiny_training as small
import torch

import orchestrion
from orchestrion.data.encoded import CodeStore
from orchestrion.data.tracks import TrackStore
from orchestrion.errors import UserError
from orchestrion.train.loop import Progress
from orchestrion.train.parallel import join, leave


class Enough(Exception):
    pass


def start(jobs: Path, num_ranks: int = 2) -> list[subprocess.Popen[bytes]]:
    """The processes, as `torchrun` would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = (Path(small.__file__).parents[1], Path(__file__).parent, Path(orchestrion.__file__).parents[1])
    shared = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(num_ranks),
        "OMP_NUM_THREADS": "1",
    }
    return [
        subprocess.Popen(
            [sys.executable, __file__, str(jobs)], env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        )
        for rank in range(num_ranks)
    ]


def stopper(after: int | None) -> dict[str, Any]:
    def on_progress(progress: Progress) -> None:
        if progress.step == after:
            raise Enough

    return {} if after is None else {"on_progress": on_progress}


def main(jobs: Path) -> None:
    torch.set_num_threads(1)
    small.without_pictures()
    join(torch.device("cpu"))
    for job in json.loads(jobs.read_text()):
        store, codes = TrackStore(Path(job["store"])), CodeStore(Path(job["codes"]))
        try:
            small.run_kind(
                job["kind"], store, codes, Path(job["model"]), Path(job["folder"]), job["steps"],
                **job["settings"], **stopper(job.get("stop")),
            )  # fmt: skip
        except Enough:
            pass
        except UserError as error:
            sys.exit(f"{error.problem}")
    leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

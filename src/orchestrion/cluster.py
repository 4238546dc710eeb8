"""Work on a Ray cluster."""

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from orchestrion.errors import UserError

Asked = TypeVar("Asked")
Result = TypeVar("Result")


def connected() -> Any:
    """The module `ray`, joined to the cluster that RAY_ADDRESS names, else to one begun on this machine.

    UserError where it is not installed or the cluster does not answer.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UserError("Ray is not installed", "install it with: pip install 'orchestrion[ray]'") from error
    if not ray.is_initialized():
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(f"the Ray cluster cannot be joined: {error}", "check RAY_ADDRESS") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray


def everywhere(
    work: Callable[[Asked], Result], asked: Iterable[Asked], *, num_cpus: int, num_gpus: int
) -> Iterator[Result]:
    """What `work` makes of each, as it is done, somewhere in the cluster; each takes so many processors and GPUs.

    What `work` raises is raised here, and nothing more is begun.
    """
    ray = connected()
    task = ray.remote(num_cpus=num_cpus, num_gpus=num_gpus)(_done)
    waiting = [task.remote(work, one) for one in asked]
    try:
        while waiting:
            done, waiting = ray.wait(waiting)
            yield _result(ray, done[0])
    finally:
        for reference in waiting:
            ray.cancel(reference)


def _done(work: Callable[[Asked], Result], one: Asked) -> Result:
    return work(one)


def _result(ray: Any, reference: Any) -> Any:
    """What came of a task; what it raised is raised as it was."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error

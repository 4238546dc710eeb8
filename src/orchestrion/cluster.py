"""Work on a Ray cluster."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
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
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars, context.raise_original_map_exception = False, True
    return ray


def worker_device(asked: str) -> str:
    """The device of every worker: "auto" is CUDA where the cluster has GPUs, of which each worker sees its own.

    UserError for several devices: how many there are is the cluster's matter.
    """
    if "," in asked or asked.startswith("cuda:"):
        raise UserError(f"with Ray there is no {asked!r}: each worker has one device", "give --device cuda or cpu")
    if asked != "auto":
        return asked
    return "cuda" if connected().cluster_resources().get("GPU") else "cpu"


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
    with explained(ray):
        return ray.get(reference)


@contextmanager
def explained(ray: Any) -> Iterator[None]:
    """Raise what went wrong in a worker: its own UserError, or one that says that the worker is gone."""
    try:
        yield
    except ray.exceptions.RayError as error:
        for one in _causes(error):
            if isinstance(one, UserError):
                raise one from error
        if isinstance(error, ray.exceptions.RayTaskError):
            raise
        raise UserError(
            f"a worker of the Ray cluster was lost: {str(error).splitlines()[0]}", "give the same command again"
        ) from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what it came from, as Ray and Python say."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = getattr(error, "cause", None) or error.__cause__

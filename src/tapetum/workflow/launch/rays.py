"""Tasks on Ray: each is one Ray task, which runs its command line in a process of its own.

Ray asks the address of a cloud's metadata (169.254.169.254) and reports usage to its makers, unless it is told not to; see :data:`SILENT`.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from tapetum.core import processors
from tapetum.core.errors import EnvironmentFault, first_line
from tapetum.workflow.launch.tasks import GONE, KEPT, Ended, Task, called, environment

SILENT = {  # the usage report is what looks for a cloud, so both end with it
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_PROMPT_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # of a warning about a future default
    "RAY_DISABLE_IMPORT_WARNING": "1",
}
STORE = 80 * 2**20  # bytes of a local Ray's object store: tasks give back texts alone


class Ray:
    """A Ray cluster, or one that is started on this machine for as long as the command runs.

    Args:
        address: of a cluster, as Ray takes it; a number: so many processors of this machine; empty: all of them.
    """

    name = "Ray"

    def __init__(self, address: str = "") -> None:
        self.address = address
        self._ray: Any = None

    def run(self, tasks: Sequence[Task]) -> Generator[tuple[Task, Ended]]:
        """Yield each task when it has ended."""
        ray = self._started()
        remote = ray.remote(max_retries=0)(_command)  # another try is the caller's decision, by the exit code
        waiting = {}
        for task in tasks:
            needs = remote.options(name=task.name, num_cpus=task.processors * task.devices, num_gpus=task.devices if task.gpu else 0)
            waiting[needs.remote(task.words, os.getcwd(), environment())] = task
        try:
            while waiting:
                ready, _ = ray.wait(list(waiting), num_returns=1)
                for reference in ready:
                    yield waiting.pop(reference), _ended(ray, reference)
        finally:
            for reference in waiting:
                ray.cancel(reference, force=True)

    def close(self) -> None:
        """End a Ray that was started here; let go of a cluster."""
        if self._ray is not None:
            self._ray.shutdown()
            self._ray = None

    def _started(self) -> Any:
        """Return Ray, connected.

        Raises:
            EnvironmentFault: no cluster answers.
        """
        if self._ray is not None:
            return self._ray
        os.environ.update(SILENT)  # before the import, and before processes of a local Ray inherit it
        os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's own is 15: beside other work its tasks would hardly run
        import ray

        own = not self.address or self.address.isdigit()
        how: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}
        try:
            if own:
                count = int(self.address or processors.cores())
                ray.init("local", num_cpus=count, object_store_memory=STORE, _node_ip_address="127.0.0.1", **how)
            else:
                ray.init(self.address, log_to_driver=False, configure_logging=False)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            what = "Ray does not start" if own else f"no Ray cluster answers at {self.address}"
            raise EnvironmentFault(
                f"{what} ({first_line(error)})", fix="start a cluster first, with Ray's own command, or leave the address out"
            ) from None
        self._ray = ray
        return ray


def _ended(ray: Any, reference: Any) -> Ended:
    try:
        return Ended(*ray.get(reference))
    except ray.exceptions.RayError as error:  # its worker or its machine is gone
        return Ended(GONE, err=first_line(error))


def _command(words: list[str], folder: str, variables: Mapping[str, str]) -> tuple[int, str, str]:
    """Run a command line; this is what a worker of Ray does."""
    where = folder if os.path.isdir(folder) else None
    done = called(words, cwd=where, env={**os.environ, **variables})
    return done.returncode, done.stdout, done.stderr[-KEPT:]

"""Tasks on Ray: each is one Ray task, which runs its command line in a process of its own.

Ray asks the address of a cloud's metadata (169.254.169.254) and reports usage to its makers, unless it is told not to; see :data:`SILENT`.
A Ray that is started here listens on the loopback interface alone; see :data:`OWN`.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tapetum.core import processors
from tapetum.core.errors import EnvironmentFault, UserError, first_line, said_by
from tapetum.core.progress import Log
from tapetum.core.words import plural
from tapetum.workflow.launch.tasks import GONE, KEPT, Ended, Task, called, environment

SILENT = {  # the usage report is what looks for a cloud, so both end with it
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_PROMPT_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # of a warning about a future default
    "RAY_DISABLE_IMPORT_WARNING": "1",
}
LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # "0", as on those systems: Ray uses 127.0.0.1 in place of the machine's address
OWN = {  # of a Ray that is started here
    LOOPBACK: "0",
    "RAY_AUTH_MODE": "token",
    "RAY_worker_niceness": "0",  # Ray's own is 15: beside other work its tasks would hardly run
}
QUICK = {  # of the look whether a cluster answers: Ray's own patience is minutes
    "RAY_gcs_server_request_timeout_seconds": "5",
    "RAY_gcs_rpc_server_connect_timeout_s": "5",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
}
LOOK = (  # in a process of its own, which Ray may end, and which can be ended
    "import sys, ray\n"
    "try: ray.init(sys.argv[1], log_to_driver=False, configure_logging=False)\n"
    "except BaseException as error: sys.exit('error: ' + ' '.join(str(error).split())[:400])\n"
)
KNOCK, ANSWER = 5.0, 60.0  # seconds until a machine takes a connection, and until its Ray answers, imports of Ray included
STORE = 80 * 2**20  # bytes of a local Ray's object store: tasks give back texts alone


def check(address: str) -> None:
    """Refuse an address that is none, or where no cluster answers.

    Raises:
        UserError: neither a number of processors nor an address.
        EnvironmentFault: no cluster answers.
    """
    address = address.strip()
    if _is_own(address):
        if address.isdecimal() and int(address) < 1:
            raise UserError(f"--on is 'ray:{address}'", need="1 processor or more")
        return
    place = re.fullmatch(r"(?:ray://)?\[?([^/\s]+?)\]?:([0-9]{1,5})", address)
    if place is None and address != "auto" and "://" not in address:
        raise UserError(f"--on is 'ray:{address}'", need="a number of processors, HOST:PORT or auto behind ray:")
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        return
    try:
        if place is not None:
            socket.create_connection((place[1], int(place[2])), timeout=KNOCK).close()
        done = called([sys.executable, "-c", LOOK, address], timeout=ANSWER, env={**os.environ, **SILENT, **_known_token(), **QUICK})
    except (OSError, OverflowError) as error:
        raise _unanswered(address, str(getattr(error, "strerror", None) or error)) from None
    except subprocess.TimeoutExpired:
        raise _unanswered(address, f"nothing within {ANSWER:.0f} s") from None
    if done.returncode:
        sentence, last = said_by(done.stderr)
        raise _unanswered(address, sentence or last or f"exit code {done.returncode}")


class Ray:
    """A Ray cluster, or one that is started on this machine for as long as the command runs.

    Args:
        address: of a cluster, as Ray takes it; a number: so many processors of this machine; empty: all of them.
        log: told where no machine of a cluster has what a task needs.
    """

    name = "Ray"

    def __init__(self, address: str = "", log: Log = lambda _: None) -> None:
        self.address, self.log = address.strip(), log
        self._ray: Any = None
        self._borrowed = self._dead = False

    def run(self, tasks: Sequence[Task]) -> Generator[tuple[Task, Ended]]:
        """Yield each task when it has ended.

        Raises:
            EnvironmentFault: Ray cannot be started or reached, or no machine has the GPUs that a task needs.
        """
        if self._dead:  # this machine's part of it ended: it takes no further task
            self.close()
        ray = self._started()
        remote = ray.remote(max_retries=0)(_command)  # another try is the caller's decision, by the exit code
        needs = self._needs(ray, tasks)
        waiting = {
            remote.options(name=task.name, **need).remote(task.words, os.getcwd(), environment()): task
            for task, need in zip(tasks, needs, strict=True)
        }
        try:
            while waiting:
                ready, _ = ray.wait(list(waiting), num_returns=1)
                for reference in ready:
                    yield waiting.pop(reference), self._ended(ray, reference)
        except (ray.exceptions.RayError, ConnectionError) as error:
            raise EnvironmentFault(f"Ray ended ({_sentence(error)})", fix="give the same command to go on") from None
        finally:
            for reference in waiting:
                with contextlib.suppress(Exception):  # of a Ray that is gone
                    ray.cancel(reference, force=True)

    def close(self) -> None:
        """End a Ray that was started here; let go of a cluster. One that the caller had connected to stays so."""
        if self._ray is not None and not self._borrowed:
            self._ray.shutdown()
        self._ray, self._dead = None, False

    def _started(self) -> Any:
        """Return Ray, connected.

        Raises:
            EnvironmentFault: no cluster answers.
        """
        if self._ray is not None:
            return self._ray
        own = _is_own(self.address)
        ray = _imported(own)
        if ray.is_initialized():  # by who calls from Python
            self._ray, self._borrowed = ray, True
            return ray
        how: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
        try:
            with _signals_stay():
                if own:
                    count = int(self.address) if self.address.isdecimal() else processors.cores()
                    ray.init(
                        "local", num_cpus=count, object_store_memory=STORE, _node_ip_address="127.0.0.1", include_dashboard=False, **how
                    )
                else:
                    ray.init(self.address, **how)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            if not own:
                raise _unanswered(self.address, _sentence(error)) from None
            raise EnvironmentFault(f"Ray does not start ({_sentence(error)})", fix="leave out --on ray to train in this process") from None
        self._ray = ray
        return ray

    def _needs(self, ray: Any, tasks: Sequence[Task]) -> list[dict[str, int]]:
        """Return what to ask Ray for: no more processors than its largest machine has, or the task would wait for ever.

        Raises:
            EnvironmentFault: a Ray of this machine alone has fewer GPUs than a task needs.
        """
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        cpus, gpus = (int(max((node.get(kind, 0) for node in nodes), default=0)) for kind in ("CPU", "GPU"))
        wanted = max((task.devices for task in tasks if task.gpu), default=0)
        if wanted > gpus:
            what = f"a job needs {plural(wanted, 'GPU')} of one machine, and Ray has {gpus}"
            if _is_own(self.address):
                raise EnvironmentFault(what, fix="ask for fewer --devices, or a cluster: --on ray:ADDRESS")
            self.log(f"warning: {what}: the jobs wait until a machine that has them joins the cluster")
        asked = [task.processors * task.devices for task in tasks]
        # a cluster without processors is one that grows when it is asked
        return [{"num_cpus": min(n, cpus or n), "num_gpus": t.devices if t.gpu else 0} for n, t in zip(asked, tasks, strict=True)]

    def _ended(self, ray: Any, reference: Any) -> Ended:
        try:
            return Ended(*ray.get(reference))
        except ray.exceptions.RayError as error:  # its worker or its machine is gone
            self._dead |= isinstance(error, ray.exceptions.LocalRayletDiedError)
            return Ended(GONE, err=_sentence(error))


def _is_own(address: str) -> bool:
    """Tell whether a Ray is to be started on this machine."""
    return address in ("", "local") or (address.isascii() and address.isdecimal())


def _imported(own: bool) -> Any:
    """Return Ray, told what :data:`SILENT` and, for one that is started here, :data:`OWN` say."""
    os.environ.update(SILENT)  # before the import, and before processes of a local Ray inherit it
    if not own and os.environ.get(LOOPBACK) == "0":
        del os.environ[LOOPBACK]
    for name, value in (OWN if own else _known_token()).items():
        os.environ.setdefault(name, value)
    before = "ray" in sys.modules
    import ray

    if before and not ray.is_initialized():
        with contextlib.suppress(ImportError, AttributeError):  # it read the variables when it was imported; let it read them again
            constants, raylet = (importlib.import_module(name) for name in ("ray._private.ray_constants", "ray._raylet"))
            vars(constants)["ENABLE_RAY_CLUSTER"] = not own or os.environ[LOOPBACK] != "0"
            raylet.Config.initialize("")
    return ray


def _known_token() -> dict[str, str]:
    """Return what lets this process show the token of its user: a cluster that was started where one is asks for it."""
    given = "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ
    there = given or (Path.home() / ".ray" / "auth_token").exists()
    return {"RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "token")} if there else {}


def _unanswered(address: str, why: str) -> EnvironmentFault:
    fix = "start a cluster first, with Ray's own command, or leave the address out"
    return EnvironmentFault(f"no Ray cluster answers at {address} ({why.rstrip('.')})", fix=fix)


def _sentence(error: BaseException) -> str:
    """Return what an error says in one line: of what a task raised the last one, which names it."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines and hasattr(error, "traceback_str") else first_line(error)


@contextlib.contextmanager
def _signals_stay() -> Iterator[None]:
    """Give this process its own answer to SIGTERM back, which Ray replaces when it starts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _command(words: list[str], folder: str, variables: Mapping[str, str]) -> tuple[int, str, str]:
    """Run a command line; this is what a worker of Ray does."""
    where = folder if os.path.isdir(folder) else None
    done = called(words, cwd=where, env={**os.environ, **variables})
    return done.returncode, done.stdout, done.stderr[-KEPT:]

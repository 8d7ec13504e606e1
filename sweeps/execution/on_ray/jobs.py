"""A run handed to a cluster as a Ray job: from a laptop, which may then be closed."""

from __future__ import annotations

import asyncio
import os
import shlex
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.exceptions import AuthenticationError

from sweeps.errors import ExecutionError
from sweeps.plugins import VARIABLE
from sweeps.store.store import Store

try:
    from ray.job_submission import JobStatus, JobSubmissionClient
except ImportError as error:  # it is part of the extra `cluster`
    _unavailable: ImportError | None = error
else:
    _unavailable = None


def hand_over(
    address: str,
    words: Sequence[str],
    store: str,
    options: Mapping[str, str | float | None],
    more: Sequence[str],
    say: Callable[[str], None],
) -> bool:
    """Run `memsweep run` on the cluster's head node: see `submit`.

    The working folder goes along where the run needs a file of it: the sweep's, or a model or data set of the user's
    own.

    Args:
        address: where the cluster takes jobs.
        words: how the command line names the sweep: a preset or a file, then its --set options.
        store: the URI of the store.
        options: further options by name; True is a flag, None and False are left out.
        more: options as they are.
        say: called with what the job prints.

    Returns:
        Whether the job succeeded.

    Raises:
        ExecutionError: as `submit` does, and for a store that the cluster does not see.
    """
    if Store(store).is_local:
        raise ExecutionError(f"--store {store}: a folder of this machine; valid on a cluster: s3://BUCKET/PATH")
    command = ["memsweep", "run", *words, "--store", store, "--address", "auto"]
    for name, value in options.items():
        if value is not None and value is not False:
            command += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    command += more
    own = Path(words[0]).is_file() or any(word.startswith(("model=", "data=")) for word in words)
    return submit(address, command, os.getcwd() if own else None, say)


def submit(address: str, command: Sequence[str], folder: str | None, say: Callable[[str], None]) -> bool:
    """Run the command on the cluster's head node, pass on what it prints, and say whether it succeeded.

    address: `http://HOST:8265`, where a cluster's dashboard listens. folder: sent along as the command's working
    folder, less what `.gitignore` names there; None: nothing is. On Ctrl-C the job goes on, and `say` hears how to
    follow or stop it. Raises ExecutionError where no cluster answers, or where it refuses the job.
    """
    if _unavailable:
        raise ExecutionError(f"--address {address}: {_unavailable}; valid with pip install 'memsweep[cluster]'")
    try:
        client = JobSubmissionClient(address)
        environment: dict[str, Any] = {"working_dir": folder} if folder else {}
        if named := os.environ.get(VARIABLE):
            environment["env_vars"] = {VARIABLE: named}
        job = client.submit_job(entrypoint=shlex.join(command), runtime_env=environment)
    except AuthenticationError as error:
        said = str(error).splitlines()[0]
        raise ExecutionError(
            f"--address {address}: {said}; valid: RAY_AUTH_MODE=token and the cluster's token"
        ) from None
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise ExecutionError(
            f"--address {address}: the job cannot be submitted: {' '.join(str(error).split())}"
        ) from None
    say(f"job {job}: {shlex.join(command)}")
    try:
        _run(_follow(client, job, say))
    except KeyboardInterrupt:
        options = f"--address {address} {job}"
        say(f"job {job} goes on; `ray job logs -f {options}` follows it, `ray job stop {options}` stops it")
        raise
    return bool(client.get_job_status(job) == JobStatus.SUCCEEDED)


def _run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end, also where an event loop runs in this thread already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(coroutine)
        return
    errors: list[Exception] = []

    def target() -> None:
        try:
            asyncio.run(coroutine)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=target, daemon=True)  # an interruption leaves it behind, which ends with the job
    thread.start()
    thread.join()
    for error in errors:
        raise error


async def _follow(client: Any, job: str, say: Callable[[str], None]) -> None:
    async for lines in client.tail_job_logs(job):
        say(lines.rstrip("\n"))

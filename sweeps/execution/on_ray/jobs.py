"""Submission of a run to a cluster as a Ray job, which continues if the submitting machine is disconnected."""

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
except ImportError as error:  # the extra `cluster` installs what job submission needs
    _unavailable: ImportError | None = error
else:
    _unavailable = None


NOT_UPLOADED = (".?*", "*.pem", "*.key", "__pycache__")
"""Patterns, as in a `.gitignore`, of files that no sweep needs, and of which many are secrets, such as `.env`."""


def hand_over(
    address: str,
    words: Sequence[str],
    store: Store,
    options: Mapping[str, str | float | None],
    more: Sequence[str],
    say: Callable[[str], None],
) -> bool:
    """Run `memsweep run` on the cluster's head node (see `submit`), and return whether it succeeded.

    The working folder is uploaded if the run needs one of its files: the sweep file, or a custom model or data set. For
    a sweep file that lies elsewhere, its folder is uploaded instead.

    Args:
        address: the address at which the cluster accepts jobs.
        words: the arguments that select the sweep: a preset or a file, and --set options.
        store: the store, in which the job finds what is done and stores its results.
        options: further options by name. True stands for a flag, and options that are None or False are omitted.
        more: further arguments, which are passed unchanged.
        say: a function that receives the output of the job.

    Raises:
        ExecutionError: as `submit` does, and if the cluster cannot see the store.
    """
    if store.is_local:
        raise ExecutionError(f"--store {store}: a folder of this machine; valid on a cluster: s3://BUCKET/PATH")
    if store.uri.has_secrets:
        raise ExecutionError(
            f"--store {store}: holds access keys, which everybody who reaches the cluster's dashboard could read in "
            "the job's command; valid for a job: a URI without keys, and keys or a role in the nodes' environment"
        )
    folder, file = Path.cwd(), Path(words[0])
    if file.is_file() and not file.resolve().is_relative_to(folder):
        folder, words = file.parent, [file.name, *words[1:]]
    command = ["memsweep", "run", *words, "--store", str(store), "--address", "auto"]
    for name, value in options.items():
        if value is not None and value is not False:
            command += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    command += more
    own = file.is_file() or any(word.startswith(("model=", "data=")) for word in words)
    return submit(address, command, str(folder) if own else None, say)


def submit(address: str, command: Sequence[str], folder: str | None, say: Callable[[str], None]) -> bool:
    """Run a command on the cluster's head node, pass its output on to `say`, and return whether it succeeded.

    On Ctrl-C the job continues, and `say` receives the commands that follow or stop it.

    Args:
        address: `http://HOST:8265`, the address of the cluster's dashboard.
        folder: a folder to upload as the working folder, without the files that its `.gitignore` names, and without
            those of `NOT_UPLOADED`.

    Raises:
        ExecutionError: if no cluster answers, or if the cluster refuses the job.
    """
    if _unavailable:
        raise ExecutionError(f"--address {address}: {_unavailable}; valid with pip install 'memsweep[cluster]'")
    try:
        client = JobSubmissionClient(address)
        environment: dict[str, Any] = {"working_dir": folder, "excludes": [*NOT_UPLOADED]} if folder else {}
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
    """Run a coroutine until it ends, even if this thread already runs an event loop, as a notebook does."""
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

    thread = threading.Thread(target=target, daemon=True)  # after an interruption, the thread ends with the job
    thread.start()
    thread.join()
    for error in errors:
        raise error


async def _follow(client: Any, job: str, say: Callable[[str], None]) -> None:
    async for lines in client.tail_job_logs(job):
        say(lines.rstrip("\n"))

"""Describe the problems of cluster.yaml and docs/rayjob.yaml for tests/test_cluster.py.

A configuration is checked after Ray has completed it, so a missing key is checked with Ray's default.
"""

from __future__ import annotations

import copy
import functools
import itertools
import re
import shlex
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonschema import ValidationError
from ray._private.authentication import authentication_token_setup as authentication
from ray.autoscaler._private.node_provider_availability_tracker import NodeAvailabilitySummary
from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer, get_nodes_for
from ray.autoscaler._private.util import prepare_config, validate_config

from sweeps.execution.resources import EIGHTHS, Kind, Resources
from sweeps.planning.plan import Plan
from sweeps.spec.sweep_file import load_sweep

ROOT = Path(__file__).parent.parent
CONSTRAINTS = "/home/ray/memsweep/constraints.txt"
TOKEN_MODE = f"{authentication.AUTH_MODE_ENV_VAR}=token"
_project = tomllib.loads((ROOT / "pyproject.toml").read_text())
VERSION = _project["project"]["version"]
PYTHON = _project["tool"]["mypy"]["python_version"].replace(".", "")
PINS = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
BASE_IMAGE = f"rayproject/ray:{PINS['ray']}-py{PYTHON}"
IMAGE = f"REGISTRY/memsweep:{VERSION}-ray{PINS['ray']}-py{PYTHON}-torch{PINS['torch']}"

WORDS = {
    "docker.run_options": ["--ulimit nofile=", f"-e {TOKEN_MODE}"],
    "initialization_commands": ["usermod -aG docker", "sleep "],
    "setup_commands": [
        "pip install ",
        "'/home/ray/memsweep[cluster]'",
        f"('{PINS['ray']}', '{PINS['torch']}')",
        "cuda",
    ],
    "head_setup_commands": ["boto3"],
    "rsync_filter": [".gitignore"],
    "head_start_ray_commands": [
        "ray stop",
        "ray start --head",
        "--port=6379",
        "--dashboard-host=127.0.0.1",
        "--autoscaling-config=~/ray_bootstrap_config.yaml",
    ],
    "worker_start_ray_commands": ["ray stop", "ray start --address=$RAY_HEAD_IP:6379"],
}
"""Path of a list in cluster.yaml -> the texts that its lines must contain."""

VALUES = {
    "provider.type": "aws",
    "provider.cache_stopped_nodes": False,
    "docker.image": BASE_IMAGE,
    "docker.pull_before_run": True,
    "docker.disable_automatic_runtime_detection": True,
    "auth.ssh_user": "ubuntu",
    "head_node_type": "head",
    # Where Ray looks for the token, on this machine and in the image, whose user is ray.
    "file_mounts./home/ray/.ray/auth_token": f"~/{authentication._get_default_token_path().relative_to(Path.home())}",
    "file_mounts./home/ray/memsweep": ".",
}


@functools.cache
def requests() -> list[dict[str, float]]:
    """Return what the executor requests of Ray for cohorts on a core, on a huge GPU and on a GPU that just fits one."""
    cohorts = Plan.of(load_sweep("quickstart")).cohorts
    resources = [
        Resources(Kind(8, 2**34, 1.0), None),
        Resources(None, Kind(8, 2**50, 1.0)),
        Resources(None, Kind(8, max(cohort.cost.bytes for cohort in cohorts), 1.0)),
    ]
    asked = {tuple(sorted(grant.resources.items())) for each in resources for grant in each.grants(cohorts)}
    return [dict(each) for each in sorted(asked)]


def cluster_problems(config: Mapping[str, Any]) -> list[str]:
    """Return the problems of a parsed cluster.yaml."""
    try:
        filled = prepare_config(copy.deepcopy(dict(config)))
        validate_config(filled)
    except (ValidationError, ValueError, KeyError, AssertionError, RuntimeError, AttributeError, TypeError) as error:
        return [f"Ray refuses it: {type(error).__name__}: {error}"]
    found = [f"{path}: {_at(config, path)!r}, not {value!r}" for path, value in VALUES.items()
             if _at(config, path) != value]  # fmt: skip
    for path, words in WORDS.items():
        lines = " ".join(_at(config, path) or [])
        found += [f"{path}: nothing says {word!r}" for word in words if word not in lines]
    for path in ("cluster_name", "provider.region", "provider.availability_zone", "docker.container_name"):
        if not _at(config, path):
            found.append(f"{path}: missing")
    for path, most in {"max_workers": 100, "idle_timeout_minutes": 30, "upscaling_speed": 10}.items():
        if not 0 < (_at(config, path) or 0) <= most:
            found.append(f"{path}: {_at(config, path)!r}, not above 0 and at most {most}")
    found += _unpinned(filled["head_setup_commands"] + filled["worker_setup_commands"])
    found += _exposed(filled)
    for name, kind in (config.get("available_node_types") or {}).items():
        # Ray would fill in a missing key from the machine and offer, for instance, two CPUs of the head to cohorts.
        said = {*kind, *kind.get("resources", {})}
        found += [f"{name}: {key}: missing" for key in ("CPU", "GPU", "min_workers", "max_workers") if key not in said]
    types = filled["available_node_types"]
    for name, kind in types.items():
        found += [f"{name}: {problem}" for problem in _machine_problems(kind, name == filled["head_node_type"])]
    return [*found, *_scaling_problems(types, filled["head_node_type"])]


def _machine_problems(kind: Mapping[str, Any], head: bool) -> Iterator[str]:
    machine = kind["node_config"]
    for key in ("InstanceType", "ImageId", "SecurityGroupIds", "IamInstanceProfile"):
        if not machine.get(key) or not all(machine[key]):
            yield f"no {key}"
    if _at(machine, "IamInstanceProfile.Name") != ("memsweep-head" if head else "memsweep-worker"):
        yield "not the instance profile that docs/cluster.md makes for it"
    if _at(machine, "MetadataOptions.HttpTokens") != "required":
        yield "the role's keys without a session"
    for disk in machine.get("BlockDeviceMappings") or [{}]:
        size, sort, secret = (_at(disk, f"Ebs.{key}") for key in ("VolumeSize", "VolumeType", "Encrypted"))
        if disk.get("DeviceName") != "/dev/sda1" or not 100 <= (size or 0) <= 500 or sort != "gp3" or not secret:
            yield f"disk {disk}, not an encrypted gp3 of 100 to 500 GB at /dev/sda1"
    spot = _at(machine, "InstanceMarketOptions.MarketType") == "spot"
    if spot is head:
        yield "the head may vanish" if head else "not a spot machine"
    options = " ".join(_at(kind, "docker.worker_run_options") or [])
    if ("--gpus all" in options) is not bool(kind["resources"].get("GPU")):
        yield f"a container with options {options!r} for {kind['resources'].get('GPU', 0)} GPUs"


def job_problems(job: Mapping[str, Any], cluster: Mapping[str, Any]) -> list[str]:
    """Return the problems of a parsed docs/rayjob.yaml, which must have the same machines as cluster.yaml."""
    spec, ray = job.get("spec") or {}, _at(job, "spec.rayClusterSpec") or {}
    found = [
        f"{path}: {_at(job, path)!r}, not {value!r}"
        for path, value in {
            "apiVersion": "ray.io/v1",
            "kind": "RayJob",
            "metadata.name": "memsweep",
            "spec.shutdownAfterJobFinishes": True,
            "spec.rayClusterSpec.rayVersion": PINS["ray"],
            "spec.rayClusterSpec.authOptions.mode": "token",
            "spec.rayClusterSpec.enableInTreeAutoscaling": True,
            "spec.rayClusterSpec.autoscalerOptions.idleTimeoutSeconds": 60 * cluster["idle_timeout_minutes"],
            "spec.rayClusterSpec.headGroupSpec.serviceType": "ClusterIP",
            "spec.rayClusterSpec.headGroupSpec.enableIngress": False,
            "spec.rayClusterSpec.headGroupSpec.rayStartParams": {"num-cpus": "0", "num-gpus": "0"},
        }.items()
        if _at(job, path) != value
    ]
    found += [f"spec.{path}: missing" for path in ("backoffLimit", "ttlSecondsAfterFinished") if not spec.get(path)]
    words = shlex.split(spec.get("entrypoint", ""))
    given = dict(itertools.pairwise(words))
    if words[:2] != ["memsweep", "run"] or given.get("--address") != "auto" or given.get("--device") != "cuda":
        found.append(f"spec.entrypoint: {spec.get('entrypoint')!r}, not memsweep run ... --address auto --device cuda")
    if not given.get("--store", "").startswith("s3://"):
        found.append("spec.entrypoint: no --store s3://...")
    found += _exposed(job)
    head, groups = ray.get("headGroupSpec") or {}, ray.get("workerGroupSpecs") or []
    for group in (head, *groups):
        found += [f"{group.get('groupName', 'head')}: {problem}" for problem in _pod_problems(group, group is head)]
    types: dict[str, Any] = {"head": {"resources": {}, "max_workers": 0}}
    for group in groups:
        limits = _at(_pod(group), "containers.0.resources.limits") or {}
        offered = {"CPU": int(limits.get("cpu", 0)), "GPU": int(limits.get("nvidia.com/gpu", 0))}
        types[group.get("groupName")] = {
            "resources": offered,
            "min_workers": max(group.get("minReplicas", 1), group.get("replicas", 1)),
            "max_workers": group.get("maxReplicas", 0),
        }
    for name, kind in cluster["available_node_types"].items():
        there = types.get(name.replace("_", "-"), {})
        for key in ("resources", "max_workers"):
            if name != "head" and there.get(key) != kind[key]:
                found.append(f"{name}: {key} {there.get(key)}, not {kind[key]} as in cluster.yaml")
    return [*found, *_scaling_problems(types, "head")]


def _pod_problems(group: Mapping[str, Any], head: bool) -> Iterator[str]:
    container = _at(_pod(group), "containers.0") or {}
    if container.get("image") != IMAGE:
        yield f"image {container.get('image')}, not {IMAGE}"
    if container.get("name") != ("ray-head" if head else "ray-worker"):
        yield f"container {container.get('name')!r}"
    if _at(container, "envFrom.0.secretRef.name") != "memsweep-s3":
        yield "no keys of the bucket"
    requested, limits = (_at(container, f"resources.{key}") or {} for key in ("requests", "limits"))
    if not 0 < int(requested.get("cpu", 0)) <= int(limits.get("cpu", 0)):
        yield f"asks for {requested.get('cpu')} of {limits.get('cpu')} CPUs"
    if not requested.get("memory") or requested["memory"] != limits.get("memory"):
        yield f"asks for {requested.get('memory')} of {limits.get('memory')} memory"
    if head:
        return
    if group.get("rayStartParams") != {}:
        yield "rayStartParams: Ray is told what the limits say"
    if "SPOT" not in (_at(_pod(group), "nodeSelector") or {}).values():
        yield "not on spot machines"
    tolerated = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    if "nvidia.com/gpu" in limits and tolerated not in (_at(_pod(group), "tolerations") or []):
        yield "kept away from machines with GPUs"


def _scaling_problems(types: Mapping[str, Any], head: str) -> Iterator[str]:
    """Yield the problems of what Ray's autoscaler would start for cohorts in a cluster that has only a head."""
    if any(types[head]["resources"].get(name) for name in ("CPU", "GPU")):
        yield f"{head}: cohorts would train beside the driver"
    if types[head]["max_workers"]:
        yield f"{head}: may be started as a worker"
    asked = requests()
    names = {name for request in asked for name in request}
    for name, kind in types.items():
        if others := sorted(set(kind["resources"]) - names):
            yield f"{name}: offers {', '.join(others)}, which no cohort asks for"
        if name != head and kind.get("min_workers"):
            yield f"{name}: {kind['min_workers']} are there when nobody trains"
    for request in asked:
        together = EIGHTHS if request.get("GPU", 0) <= 1 / EIGHTHS else 1
        started = _started(types, head, [request] * together)
        if sum(started.values()) != 1:
            yield f"{together} cohorts of {request} would start {started or 'nothing'}, not one machine"
        elif "GPU" not in request and any(types[name]["resources"].get("GPU") for name in started):
            yield f"{request} would start {started}, for whose GPU it has no use"


def _started(types: Mapping[str, Any], head: str, demand: Sequence[Mapping[str, float]]) -> dict[str, int]:
    """Return the number of machines to start of each type, or an empty dict if they cannot meet all of the demand."""
    score = functools.partial(_default_utilization_scorer, node_availability_summary=NodeAvailabilitySummary({}))
    started, left = get_nodes_for(dict(types), {head: 1}, head, 8, [dict(each) for each in demand], score)
    return {} if left else dict(started)


def _unpinned(commands: Iterable[str]) -> Iterator[str]:
    for command in commands:
        if "pip install" in command and f"-c {CONSTRAINTS}" not in command:
            yield f"{command!r}: not held to constraints.txt"


def _exposed(config: Any) -> Iterator[str]:
    """Yield the texts that open a port to outside the cluster or contain the token."""
    for text in _texts(config):
        for word in ("0.0.0.0", "::/0", "--publish", "LoadBalancer", "NodePort", "hostPort", "RAY_AUTH_TOKEN="):
            if word in text:
                yield f"{text!r}: {word}"
        if "ray start --head" in text and not re.search(r"--dashboard-host=(127\.0\.0\.1|localhost)\b", text):
            yield f"{text!r}: the dashboard is not on the head's loopback address alone"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield str(key)
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    else:
        yield str(value)


def _pod(group: Mapping[str, Any]) -> Any:
    return _at(group, "template.spec") or {}


def _at(value: Any, path: str) -> Any:
    """Return the value at a dotted path, or None. The rest of a path may be a single key that contains dots."""
    while path:
        if isinstance(value, Mapping) and path in value:
            return value[path]
        key, _, path = path.partition(".")
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, list) and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value

"""cluster.yaml and docs/rayjob.yaml fit Ray, the pinned versions and the requests of cohorts. The checks can fail."""

from __future__ import annotations

import copy
import importlib.util
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from memsweep.cli import app
from typer.testing import CliRunner

ROOT = Path(__file__).parent.parent
_spec = importlib.util.spec_from_file_location("cluster_checks", Path(__file__).parent / "cluster_checks.py")
assert _spec
assert _spec.loader
checks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(checks)

CLUSTER_TEXT = (ROOT / "cluster.yaml").read_text()
CLUSTER = yaml.safe_load(CLUSTER_TEXT)
JOB = yaml.safe_load((ROOT / "docs" / "rayjob.yaml").read_text())
PAGE = (ROOT / "docs" / "cluster.md").read_text()
GONE = object()
Way = tuple[Any, ...]


def keys(value: Any, way: Way = ()) -> Iterator[Way]:
    """Yield the path to every key and every list item of a nested value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inside:
        yield (*way, key)
        yield from keys(each, (*way, key))


def changed(config: Any, way: Way, value: Any = GONE) -> Any:
    config = copy.deepcopy(config)
    place = config
    for key in way[:-1]:
        place = place[key]
    if value is GONE:
        del place[way[-1]]
    elif callable(value):
        place[way[-1]] = value(place[way[-1]])
    else:
        place[way[-1]] = value
    return config


def replacing(old: str, new: str) -> Any:
    def replace(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return replace


def test_cluster_yaml_has_no_problem():
    assert checks.cluster_problems(CLUSTER) == []


def test_rayjob_has_no_problem():
    assert checks.job_problems(JOB, CLUSTER) == []


def test_what_cohorts_ask_for_is_all_of_it():
    asked = checks.requests()
    assert {"CPU": 1.0} in asked
    assert {"CPU": 1.0, "GPU": 1.0} in asked
    assert {"CPU": 1.0, "GPU": 0.125} in asked
    assert {name for request in asked for name in request} == {"CPU", "GPU"}


def test_no_key_of_cluster_yaml_can_go_missing():
    ways = [way for way in keys(CLUSTER) if way[0] != "metadata"]  # YAML aliases repeat its values where they are used
    assert len(ways) > 80
    assert [way for way in ways if not checks.cluster_problems(changed(CLUSTER, way))] == []


def test_no_key_of_rayjob_can_go_missing():
    ways = list(keys(JOB))
    assert len(ways) > 80
    assert [way for way in ways if not checks.job_problems(changed(JOB, way), CLUSTER)] == []


TYPES = "available_node_types"
GPU = (TYPES, "gpu_spot")
CPU = (TYPES, "cpu_spot")


@pytest.mark.parametrize(
    ("way", "value", "said"),
    [
        (("docker", "image"), "rayproject/ray:latest-py311", "docker.image"),
        (("docker", "image"), replacing("2.60.0", "2.59.0"), "docker.image"),
        (("docker", "image"), replacing("py311", "py312"), "docker.image"),
        (("setup_commands", 1), replacing("2.13.0", "2.12.0"), "setup_commands"),
        (("setup_commands", 1), replacing("2.60.0", "2.59.0"), "setup_commands"),
        (("setup_commands", 0), replacing("-c /home/ray/memsweep/constraints.txt ", ""), "not held to constraints"),
        (("head_setup_commands", 0), "pip install boto3", "not held to constraints"),
        (("worker_setup_commands",), ["pip install torch"], "not held to constraints"),
        (("docker", "run_options", 1), "-e RAY_AUTH_MODE=disabled", "RAY_AUTH_MODE=token"),
        (("docker", "run_options", 0), "--ulimit nofile=9:9 -e RAY_AUTH_TOKEN=secret", "RAY_AUTH_TOKEN="),
        (("docker", "run_options", 0), "--ulimit nofile=9:9 --publish 8265:8265", "--publish"),
        (("file_mounts", "/home/ray/.ray/auth_token"), "~/other_token", "auth_token"),
        (("file_mounts",), {"/home/ray/memsweep": ".", "/root/.ray/auth_token": "~/.ray/auth_token"}, "auth_token"),
        (("head_start_ray_commands", 1), replacing("127.0.0.1", "0.0.0.0"), "0.0.0.0"),
        (("head_start_ray_commands", 1), replacing("--dashboard-host=127.0.0.1", ""), "loopback"),
        (("head_start_ray_commands",), GONE, "0.0.0.0"),
        (
            ("provider", "security_group"),
            {"GroupName": "open", "IpPermissions": [{"FromPort": 8265, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]},
            "0.0.0.0",
        ),
        ((*GPU, "node_config", "SecurityGroupIds"), GONE, "gpu_spot: no SecurityGroupIds"),
        ((TYPES, "head", "node_config", "SecurityGroupIds"), [], "head: no SecurityGroupIds"),
        ((*GPU, "min_workers"), 1, "when nobody trains"),
        ((*CPU, "min_workers"), 2, "when nobody trains"),
        ((*GPU, "node_config", "InstanceMarketOptions"), GONE, "gpu_spot: not a spot machine"),
        ((*CPU, "node_config", "InstanceMarketOptions", "MarketType"), "capacity-block", "not a spot machine"),
        ((TYPES, "head", "node_config", "InstanceMarketOptions"), {"MarketType": "spot"}, "head: the head may vanish"),
        ((*GPU, "node_config", "IamInstanceProfile"), {"Name": "memsweep-head"}, "instance profile"),
        ((*GPU, "resources"), {"CPU": 8}, "'GPU'"),
        ((*GPU, "resources"), {"CPU": 8, "gpu": 1}, "'GPU'"),
        ((*GPU, "resources"), {"CPU": 4, "GPU": 1}, "8 cohorts of"),
        ((*GPU, "resources"), {"CPU": 8, "GPU": 1, "a10g": 1}, "no cohort asks for"),
        ((*GPU, "resources", "GPU"), 0.5, "Ray refuses it"),
        ((*GPU, "docker"), GONE, "gpu_spot: a container"),
        ((*GPU, "max_workers"), 0, "would start nothing"),
        ((*CPU, "resources", "CPU"), 0, "no use"),
        (CPU, GONE, "no use"),
        (GPU, GONE, "would start nothing"),
        ((TYPES, "head", "resources", "CPU"), 2, "beside the driver"),
        ((TYPES, "head", "resources"), {}, "head: CPU: missing"),
        ((TYPES, "head", "max_workers"), 1, "started as a worker"),
        (("max_workers",), 0, "max_workers"),
        (("idle_timeout_minutes",), 600, "idle_timeout_minutes"),
        (("provider", "cache_stopped_nodes"), True, "cache_stopped_nodes"),
        (("no_such_key",), 1, "Ray refuses it"),
    ],
)
def test_a_change_of_cluster_yaml_is_noticed(way: Way, value: Any, said: str):
    assert said in "\n".join(checks.cluster_problems(changed(CLUSTER, way, value)))


SPEC = ("spec", "rayClusterSpec")
HEAD = (*SPEC, "headGroupSpec")
WORKERS = (*SPEC, "workerGroupSpecs")
POD = ("template", "spec", "containers", 0)


@pytest.mark.parametrize(
    ("way", "value", "said"),
    [
        ((*SPEC, "rayVersion"), "2.59.0", "rayVersion"),
        ((*HEAD, *POD, "image"), "rayproject/ray:latest", "head: image"),
        ((*WORKERS, 0, *POD, "image"), replacing("torch2.13.0", "torch2.12.0"), "gpu-spot: image"),
        ((*WORKERS, 1, *POD, "image"), replacing("py311", "py312"), "cpu-spot: image"),
        ((*SPEC, "authOptions", "mode"), "disabled", "authOptions.mode"),
        ((*HEAD, "serviceType"), "LoadBalancer", "LoadBalancer"),
        ((*HEAD, "enableIngress"), True, "enableIngress"),
        ((*HEAD, "rayStartParams", "num-cpus"), "2", "num-cpus"),
        ((*WORKERS, 0, "minReplicas"), 1, "when nobody trains"),
        ((*WORKERS, 0, "replicas"), 1, "when nobody trains"),
        ((*WORKERS, 0, "maxReplicas"), 4, "as in cluster.yaml"),
        ((*WORKERS, 0, *POD, "resources", "limits", "nvidia.com/gpu"), GONE, "'GPU'"),
        ((*WORKERS, 0, *POD, "resources", "limits", "cpu"), "7", "8 cohorts of"),
        ((*WORKERS, 0, "template", "spec", "nodeSelector"), {}, "not on spot machines"),
        ((*WORKERS, 0, "template", "spec", "tolerations"), [], "kept away"),
        ((*WORKERS, 1), GONE, "cpu_spot"),
        (("spec", "entrypoint"), replacing("s3://BUCKET/memsweep", "results"), "no --store s3://"),
        (("spec", "entrypoint"), replacing("--address auto ", ""), "--address auto"),
        (("spec", "shutdownAfterJobFinishes"), False, "shutdownAfterJobFinishes"),
    ],
)
def test_a_change_of_rayjob_is_noticed(way: Way, value: Any, said: str):
    assert said in "\n".join(checks.job_problems(changed(JOB, way, value), CLUSTER))


def test_the_values_to_change_are_used_and_nowhere_else():
    head, used = CLUSTER_TEXT.split("\nprovider:", 1)
    assert sorted(re.findall(r": &(\w+) ", head)) == sorted(CLUSTER["metadata"])
    assert {name for name in CLUSTER["metadata"] if f"*{name}" in used} == set(CLUSTER["metadata"])
    assert [value for value in CLUSTER["metadata"].values() if value in used] == []


@pytest.fixture
def simulated_aws() -> Iterator[None]:
    """Simulate AWS without a reset, because the S3 server of other tests is simulated in the same process."""
    from moto import mock_aws

    simulation = mock_aws()
    simulation.start(reset=False)
    yield
    simulation.stop(remove_data=False)


def head_statements() -> list[dict[str, Any]]:
    """Return the statements of the policy that the page gives to the head's role, besides that of the bucket."""
    (text,) = re.findall(r"^\$ workers='(.*?)'$", PAGE, re.DOTALL | re.MULTILINE)
    statements: list[dict[str, Any]] = json.loads(text)["Statement"]
    return statements


def test_the_head_may_start_workers_and_nothing_else():
    statements = head_statements()
    assert "FullAccess" not in PAGE
    assert {statement["Effect"] for statement in statements} == {"Allow"}
    actions = [action for each in statements for action in np.atleast_1d(each["Action"])]
    assert {*actions} == {
        "ec2:DescribeInstances", "ec2:RunInstances", "ec2:CreateTags", "ec2:TerminateInstances", "iam:PassRole"
    }  # fmt: skip
    for statement in statements:
        bounded = statement["Resource"] != "*" or "aws:RequestedRegion" in statement["Condition"]["StringEquals"]
        assert bounded, statement
    text = json.dumps(statements)
    assert f'"aws:ResourceTag/ray-cluster-name": "{CLUSTER["cluster_name"]}"' in text
    assert {*re.findall(r"\b\w+-\w+-\d\b", text)} == {CLUSTER["provider"]["region"]}
    assert f":role/{CLUSTER['metadata']['worker_profile']}" in text
    assert f":role/{CLUSTER['metadata']['head_profile']}" not in text


@pytest.mark.slow
def test_ray_starts_these_machines_in_a_simulated_aws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, simulated_aws: None
):
    """As under `ray up` and its autoscaler, Ray completes the file and starts the head and a worker of each type.

    What the autoscaler requests of AWS, once it runs on the head, is what the head's role allows.
    """
    import boto3
    import botocore.client
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.commands import _bootstrap_config

    region = CLUSTER["provider"]["region"]
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray creates a key pair in ~/.ssh
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    ec2 = boto3.client("ec2", region)
    for profile in ("memsweep-head", "memsweep-worker"):
        boto3.client("iam", region).create_instance_profile(InstanceProfileName=profile)
    group = ec2.create_security_group(GroupName="memsweep", Description="memsweep")["GroupId"]
    image = ec2.describe_images()["Images"][0]["ImageId"]
    text = CLUSTER_TEXT.replace("ami-CHANGE-ME", image).replace("sg-CHANGE-ME", group)
    config = _bootstrap_config(yaml.safe_load(text), no_config_cache=True)
    requested: set[str] = set()
    call = botocore.client.BaseClient._make_api_call

    def noting(client: Any, operation: str, arguments: Any) -> Any:
        requested.add(f"{client.meta.service_model.service_name}:{operation}")
        return call(client, operation, arguments)

    monkeypatch.setattr("botocore.client.BaseClient._make_api_call", noting)
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for name, kind in config["available_node_types"].items():
        provider.create_node(kind["node_config"], {"ray-user-node-type": name}, 1)
        real = {key: kind["resources"][key] for key in ("CPU", "GPU")}
        assert real == CLUSTER[TYPES][name]["resources"]
    started = {
        next(tag["Value"] for tag in machine["Tags"] if tag["Key"] == "ray-user-node-type"): machine
        for reservation in ec2.describe_instances()["Reservations"]
        for machine in reservation["Instances"]
    }
    kinds = [machine["InstanceType"] for machine in started.values()]
    described = ec2.describe_instance_types(InstanceTypes=kinds)["InstanceTypes"]
    types = {kind["InstanceType"]: kind for kind in described}
    assert {name: machine.get("InstanceLifecycle") for name, machine in started.items()} == {
        "head": None, "gpu_spot": "spot", "cpu_spot": "spot"
    }  # fmt: skip
    for name, machine in started.items():
        assert [each["GroupId"] for each in machine["SecurityGroups"]] == [group]
        profile = "memsweep-head" if name == "head" else "memsweep-worker"
        assert machine["IamInstanceProfile"]["Arn"].endswith(f"/{profile}")
        kind = types[machine["InstanceType"]]
        gpus = sum(gpu["Count"] for gpu in kind.get("GpuInfo", {}).get("Gpus", []))
        if name != "head":
            assert CLUSTER[TYPES][name]["resources"] == {"CPU": kind["VCpuInfo"]["DefaultVCpus"], "GPU": gpus}
    requested.clear()
    provider.create_node(config[TYPES]["cpu_spot"]["node_config"], {"ray-user-node-type": "cpu_spot"}, 1)
    workers = provider.non_terminated_nodes({"ray-user-node-type": "cpu_spot"})
    provider.set_node_tags(workers[0], {"ray-node-status": "up-to-date"})
    provider.terminate_nodes(workers)
    allowed = {action for each in head_statements() for action in np.atleast_1d(each["Action"])}
    assert requested == {action for action in allowed if action.startswith("ec2:")}


def console_lines() -> list[str]:
    blocks = "".join(re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL))
    return re.sub(r"\\\n\s*", "", blocks).splitlines()


def test_every_memsweep_command_exists_with_its_options():
    commands = [re.search(r"\bmemsweep (run|status) .*", line.split(" #")[0]) for line in console_lines()]
    lines = [command[0] for command in commands if command]
    assert len(lines) >= 4
    for line in (*lines, JOB["spec"]["entrypoint"]):
        _, name, *arguments = shlex.split(line)
        shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).output
        assert "Usage" in shown
        for option in (word for word in arguments if word.startswith("--")):
            assert option in shown, (name, option)


def test_the_page_builds_the_image_that_the_job_runs():
    (dockerfile,) = re.findall(r"```dockerfile\n(.*?)```", PAGE, re.DOTALL)
    assert dockerfile.startswith(f"FROM {checks.BASE_IMAGE}\n")
    assert "\nCOPY --chown=ray:users . /home/ray/memsweep\n" in dockerfile
    assert f"pip install --no-cache-dir -c {checks.CONSTRAINTS} -e '/home/ray/memsweep[cluster]'" in dockerfile
    plain = " ".join(dockerfile.replace("\\\n", " ").split())
    assert f"RUN {' '.join(CLUSTER['setup_commands'][1].split())}" in plain, "another check than cluster.yaml's"
    assert f"--tag {checks.IMAGE} " in PAGE
    assert f"docker push {checks.IMAGE}\n" in PAGE


def test_the_page_makes_the_roles_that_the_machines_have():
    for role in (CLUSTER["metadata"][key] for key in ("head_profile", "worker_profile")):
        assert re.search(rf"^\$ for role in .*\b{role}\b", PAGE, re.MULTILINE)
    assert "iam:PassRole" in PAGE
    opened = [line for line in console_lines() if "authorize-security-group-ingress" in line]
    assert len(opened) == 2
    assert [line for line in opened if "0.0.0.0" in line] == []


def test_links_of_the_page_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", PAGE) if "://" not in link]
    assert len(links) >= 2
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []

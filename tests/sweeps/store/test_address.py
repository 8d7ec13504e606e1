"""No text form of a store's address contains a secret: not in messages, logs, printed commands or jobs."""

from __future__ import annotations

import json
import logging
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memsweep.cli import app
from memsweep.inputs import load_sweep, run_command
from typer.testing import CliRunner

from sweeps.errors import ExecutionError, StoreError
from sweeps.execution.on_ray.shared_folder import not_shared
from sweeps.store.address import Address
from sweeps.store.atomic_files import Location
from sweeps.store.store import Store

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
WHERE = "bucket/path?endpoint_override=127.0.0.1:1&scheme=http&region=us-east-1"

SHOWN = {
    "results": "results",
    "/home/me:you@work/results": "/home/me:you@work/results",
    f"s3://{KEY}:plain@{WHERE}": f"s3://{WHERE}",
    f"s3://{KEY}:per%2Fcent@{WHERE}": f"s3://{WHERE}",
    f"s3://{KEY}:{SECRET}@{WHERE}": f"s3://***@{WHERE}",
    f"s3://{KEY}:a@b/c?d#e@{WHERE}": f"s3://***@{WHERE}",
    "s3://bucket/a@v1": "s3://bucket/a@v1",
    "s3://bucket/a?secret_key=SECRET&region=r": "s3://bucket/a?secret_key=***&region=r",
    "s3://bucket/a?endpoint_override=https://me:pass@host": "s3://bucket/a?endpoint_override=https://host",
    "gs://anonymous@bucket/a": "gs://bucket/a",
}


@pytest.mark.parametrize("given", SHOWN)
def test_every_text_form_is_without_secrets(given):
    shown = SHOWN[given]
    for place in (Address(given), Store(given).uri, Location(given), Store(given)):
        assert str(place) == f"{place}" == f"{place:s}" == shown
        assert repr(place) in (f"Address({shown!r})", f"Store({shown!r})", f"Location({shown!r})")
    assert Address(given).raw == pickle.loads(pickle.dumps(Address(given))).raw == given


ALPHABET = st.characters(min_codepoint=33, max_codepoint=126)


@given(st.text(ALPHABET, min_size=4, max_size=40), st.sampled_from(["s3", "gs"]))
def test_no_secret_escapes_whatever_its_characters(secret, scheme):
    given = f"{scheme}://KEY:!{secret}!@{WHERE}"
    address = Address(given)
    said = f"Cannot parse URI: {given!r} (host !{secret}!)"
    for text in (
        str(address),
        repr(address),
        f"{address}",
        address.redact(given),
        address.redact(f"Cannot parse {given}"),
    ):
        assert f"!{secret}!" not in text
    assert f"!{secret}!" not in address.redact(said).replace(repr(given), "")


def test_errors_of_the_library_and_log_lines_are_without_secrets(monkeypatch, caplog):
    monkeypatch.setattr("sweeps.store.atomic_files.WAITS", (0.0,))
    monkeypatch.setattr("sweeps.store.atomic_files.SDK_ATTEMPTS", 1)
    caplog.set_level(logging.DEBUG)
    texts = []
    for secret in (SECRET, SECRET.replace("/", "%2F")):
        for query in ("?colour=red", "?endpoint_override=127.0.0.1:1&scheme=http&region=r"):
            with pytest.raises(StoreError) as caught:
                Location(f"s3://{KEY}:{secret}@bucket/path{query}").list("parts")
            texts.append(str(caught.value))
    texts += caplog.messages
    assert any("trying again" in text for text in texts)
    for text in texts:
        assert not re.search("wJalr|K7MDENG|bPxRfi", text), text


def test_printed_commands_are_without_secrets():
    store = Store(f"s3://{KEY}:plain@bucket/path")
    assert run_command(load_sweep("quickstart"), store) == "memsweep run quickstart --store s3://bucket/path"
    assert "plain" not in not_shared(store, ["host"])


def test_a_job_is_not_submitted_with_keys_in_its_command(monkeypatch):
    def unreachable(*given: object) -> bool:
        raise AssertionError("submitted")

    monkeypatch.setattr("sweeps.execution.on_ray.jobs.submit", unreachable)
    arguments = ["run", "quickstart", "--store", f"s3://{KEY}:{SECRET}@bucket/x", "--address", "http://127.0.0.1:1"]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, ExecutionError)
    assert str(result.exception) == (
        "--store s3://***@bucket/x: holds access keys, which everybody who reaches the cluster's dashboard could read "
        "in the job's command; valid for a job: a URI without keys, and keys or a role in the nodes' environment"
    )


def test_the_raw_form_is_not_part_of_anything_that_is_serialized_as_text():
    with pytest.raises(TypeError):
        json.dumps(Address(f"s3://{KEY}:plain@bucket"))

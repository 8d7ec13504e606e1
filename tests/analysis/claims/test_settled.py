"""Tests of claims from presets and stores: their sweeps, their points, and the printed table."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from memsweep import cli
from rich.console import Console

from analysis.claims import CLAIMS, Claim, Contrast, Decision, Evidence, Finding, Source, decide, register_claim
from analysis.claims.effects import Difference
from analysis.claims.rows import HIGHEST, LOWEST
from analysis.claims.rule import above
from analysis.claims.settled import check_claimed, claimed_presets, claims_of, default_sweeps, settle
from analysis.report.claims_page import commands, summary, verdict_table, write_page
from analysis.tables.points import points_table
from analysis.words import METRICS
from lightning_modules.measures.values import PerExample
from sweeps.errors import ExportError, SweepError
from sweeps.planning.plan import Plan
from sweeps.spec.sweep_file import load_sweep, parse_sweep
from sweeps.store.store import Contents, Store

CLAIM = {claim.key: claim for claim in CLAIMS}
MAP = """
name: regularization-map
fixed: {data: mnist1d, width: 8, label_noise: 0.4, epochs: 2}
grid: {dropout: [0, 0.5], weight_decay: [0, 0.1], seed: [0, 1, 2]}
"""


@pytest.fixture(name="sweep")
def sweep_fixture() -> Any:
    return parse_sweep(MAP, "map.yaml")


def train(store: Store, make_record: Any, plan: Plan, memorized: Any) -> None:
    """Store a record of every training with the given memorized fraction at the last epoch."""
    for trajectory in plan.trainings:
        fields = {
            name: getattr(trajectory.settings, name) for name in ("dropout", "weight_decay", "seed", "label_noise")
        }
        record = make_record(trajectory.id, finished=(2,), **fields)
        row = record.rows[0]
        measures = {**row.measures, "memorized_fraction": memorized(trajectory.settings)}
        store.append([replace(record, rows=(replace(row, measures=measures),))])


def memorized(point: Any) -> float:
    """Return a fraction that dropout lowers by 40, 41 or 42 points, depending on the seed, and weight decay by 1."""
    return 0.9 - point.dropout * (0.8 + 0.02 * point.seed) + point.weight_decay / 10


@pytest.fixture(scope="module", name="variants")
def variants_fixture() -> list[str]:
    """Return every preset on which a claim rests, and its full variant if there is one."""

    def names() -> Iterator[str]:
        for name in claimed_presets():
            yield name
            try:
                load_sweep(f"{name}-full")
            except SweepError:
                continue
            yield f"{name}-full"

    return list(names())


def as_if_trained(plan: Plan, store: Store, contents: Contents) -> Evidence:
    """Build finished points with measures within their ranges; wider networks fit better."""
    points = points_table(plan, contents).to_pandas()
    rng = np.random.default_rng(0)
    size = points["width"].fillna(points["parameter_count"]).fillna(1).rank(method="dense")
    points = points.assign(outcome="finished", parameters=1000 * size)
    for metric, about in METRICS.items():
        if not about.complement:
            points[metric] = rng.uniform(0.1, 0.9, len(points))
    points["train_accuracy"] = 0.4 + 0.6 * size / size.max()
    points[["epochs_to_90", "epochs_to_100"]] = rng.integers(1, 9, (len(points), 2))
    shown = points.drop_duplicates("trajectory_id")
    curves = pd.concat(
        shown.assign(epoch=epoch, **dict.fromkeys(
            ("train_accuracy", "test_accuracy", "validation_accuracy", "memorized_fraction"), part
        ))
        for epoch, part in ((1, 0.2), (2, 0.6), (3, 1.0))
    )  # fmt: skip
    examples = pd.concat(
        pd.DataFrame({"trajectory_id": shown["trajectory_id"], "epoch": 1, "measure": "correct", "split": "train",
                      "example_id": example, "value": rng.integers(0, 2, len(shown)).astype(float)})
        for example in range(12)
    )  # fmt: skip
    return Evidence(points, curves, examples)


@pytest.mark.parametrize("full", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_claim_has_a_number_from_its_whole_preset_and_the_full_variant(full, variants, tmp_path):
    """No claim needs a setting or pairs that its preset lacks."""
    store = Store(tmp_path / "none")
    contents = store.read()
    seen = set()
    for name, sweep in ((name, load_sweep(name)) for name in variants if name.endswith("-full") == full):
        tables = as_if_trained(Plan.of(sweep), store, contents)
        for claim in claims_of(sweep):
            for finding in decide(claim, tables).findings:
                told = (name, claim.key, finding.contrast.words, finding.missing, finding.detail)
                assert np.isfinite([finding.effect, finding.low, finding.high]).all(), told
                assert "have no number" not in finding.detail, told
                assert finding.n >= 3, told
        seen |= {claim.key for claim in claims_of(sweep)}
    assert seen == {claim.key for claim in CLAIMS} or full


def test_a_store_without_a_training_decides_nothing_and_says_what_to_run(sweep, tmp_path):
    store = Store(tmp_path / "none")
    decisions = settle([("map.yaml", sweep)], store, store.read(), "--store none")
    assert [decision.claim.key for decision in decisions] == ["dropout-holds-back", "weight-decay-holds-back"]
    assert all(d.findings[0].missing == "6 of 6 trainings to run or measure" for d in decisions)
    assert commands(decisions) == ["memsweep run map.yaml --store none"]
    assert summary(decisions) == "2 claims: 0 supported, 0 contradicted, 2 undecided"


def test_from_the_store_to_the_verdict(sweep, store, make_record):
    train(store, make_record, Plan.of(sweep), memorized)
    dropout, decay = settle([("map.yaml", sweep)], store, store.read())
    assert dropout.verdict == "supported"
    assert dropout.findings[0].per_seed == pytest.approx({0: 40, 1: 40.5 + 0.5, 2: 42})
    assert decay.verdict == "contradicted"
    assert decay.findings[0].effect == pytest.approx(-1)
    assert commands([dropout, decay]) == []


def test_only_what_the_grid_asks_for_counts(sweep, store, make_record):
    train(store, make_record, Plan.of(parse_sweep(MAP.replace("[0, 1, 2]", "[0, 1, 2, 3]"), "more.yaml")), memorized)
    (dropout, _) = settle([("map.yaml", sweep)], store, store.read())
    assert dropout.findings[0].n == 3


def test_single_examples_are_read_where_a_claim_is_about_them(store, make_record):
    text = """
name: arpit2017-easy-hard
fixed: {data: digits, data_seed: 0, width: 4, epochs: 1}
grid: {input_noise: [0, 1], seed: [0, 1, 2, 3]}
measure: [example_correctness]
"""
    sweep = parse_sweep(text, "hard.yaml")
    plan = Plan.of(sweep)
    rng = np.random.default_rng(0)
    hard = rng.random(200)
    for trajectory in plan.trainings:
        point = trajectory.settings
        chance = np.full(200, 0.4) if point.input_noise else hard
        right = (rng.random(200) > chance).astype(float)
        record = make_record(trajectory.id, finished=(1,), input_noise=point.input_noise, seed=point.seed)
        store.append([replace(record, examples=((1, PerExample("correct", "train", np.arange(200), right)),))])
    decisions = {d.claim.key: d.findings[0] for d in settle([("hard.yaml", sweep)], store, store.read())}
    alike, apart = decisions["random-inputs-alike"], decisions["real-easy-and-hard"]
    assert (alike.n, alike.of) == (200, "examples")
    assert alike.effect < 1.6 < apart.effect


def test_a_claim_of_ones_own_is_one_entry(store, make_record):
    contrast = Contrast(
        "no dropout minus the strongest", "corrupted labels memorized, difference", "points", above(0),
        Difference("memorized_fraction", {"dropout": LOWEST}, {"dropout": HIGHEST}, {"weight_decay": 0}), "less",
    )  # fmt: skip
    before = [*CLAIMS]
    try:
        register_claim(Claim("mine", "It holds.", Source("N. N. 2026", "", "2601.00001"), "my-map", (contrast,)))
        sweep = parse_sweep(MAP.replace("regularization-map", "my-map"), "map.yaml")
        train(store, make_record, Plan.of(sweep), memorized)
        (decision,) = settle([("map.yaml", sweep)], store, store.read())
        assert (decision.claim.key, decision.verdict) == ("mine", "supported")
        assert "my-map" not in default_sweeps()
    finally:
        CLAIMS[:] = before


def test_a_sweep_that_no_claim_rests_on_is_refused(tmp_path):
    with pytest.raises(SweepError, match=r"^quickstart: no claim rests on it; .*valid: architectures, "):
        check_claimed([load_sweep("quickstart")])


def decided() -> list[Decision]:
    dropout, descent = CLAIM["dropout-holds-back"], CLAIM["double-descent"]
    interval = {"how": "95 % t interval over seeds", "n": 3}
    return [
        Decision(dropout, "regularization-map", (Finding(dropout.contrasts[0], "supported", 20, 15, 25, **interval),)),
        Decision(
            descent,
            "mnist1d-double-descent",
            (
                Finding(descent.contrasts[0], "contradicted", 29, 27, 31, **interval, detail="width 27"),
                Finding(descent.contrasts[1], "supported", 7, 6, 8, **interval),
                Finding(descent.contrasts[2], "undecided", missing="3 of 9 trainings to run or measure", command="go"),
            ),
        ),
    ]


GOLDEN = """\
experiment               the paper says            compared, and claimed     measured                  verdict
────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
regularization-map       Dropout holds             no dropout minus the      +20.0 points [15.0,       supported
                         memorization back.        strongest, no weight      25.0]
                         Arpit et al. 2017: less   decay: above 0 points     n = 3 seeds
                         with dropout

mnist1d-double-descent   Test error peaks where    training error at the     29.0 % [27.0, 31.0]       contradicted
                         a network becomes just    width where test error    n = 3 seeds
                         large enough to fit its   peaks, chosen on the      width 27
                         noisy labels. Nakkiran    other seeds, 15 %
                         et al. 2019: 10 to 0 %    noise: at most 10 %
                         a rise                    first width under 10 %    +7.0 points [6.0, 8.0]    supported
                                                   training error minus      n = 3 seeds
                                                   the best narrower one,
                                                   15 % noise: above 0
                                                   points
                         a second descent          first width under 10 %    -                         undecided
                                                   training error minus      missing: 3 of 9           all: contradicted
                                                   the widest, 15 % noise:   trainings to run or
                                                   above 0 points            measure
"""


def printed(decisions: list[Decision]) -> str:
    stream = io.StringIO()
    Console(file=stream, width=120, highlight=False).print(verdict_table(decisions))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def test_the_table():
    assert printed(decided()) == GOLDEN


class TestCommand:
    @pytest.fixture
    def memsweep(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "map.yaml").write_text(MAP)

        def run(*args: str) -> tuple[int, str, str]:
            monkeypatch.setattr("sys.argv", ["memsweep", "claims", *args])
            code = 0
            try:
                cli.main()
            except SystemExit as end:
                code = int(end.code or 0)
            return (code, *capsys.readouterr())

        return run

    def test_prints_the_table_and_what_to_run(self, memsweep):
        Store("some where").prepare()
        code, out, _ = memsweep("map.yaml", "--store", "some where")
        assert code == 0
        assert "Dropout holds memorization" in out
        assert out.endswith(
            "2 claims: 0 supported, 0 contradicted, 2 undecided\n"
            "to train what is missing:\n  memsweep run map.yaml --store 'some where'\n"
        )

    def test_json_and_a_page(self, memsweep, sweep, make_record):
        train(Store("results"), make_record, Plan.of(sweep), memorized)
        code, out, err = memsweep("map.yaml", "--json", "--out", "page")
        assert code == 0
        told = json.loads(out)
        assert [each["verdict"] for each in told] == ["supported", "contradicted"]
        assert told[0]["contrasts"][0]["n"] == 3
        assert err == "page/index.html\n"
        assert len(list(Path("page/figures").iterdir())) == 4

    def test_more_seeds_by_set(self, memsweep, sweep, make_record):
        train(Store("results"), make_record, Plan.of(sweep), memorized)
        _, out, _ = memsweep("map.yaml", "--set", "seed=[0, 1, 2, 3]")
        assert "2 of 8 trainings" in out.replace("\n", " ")
        assert "memsweep run map.yaml --set 'seed=[0, 1, 2, 3]'" in out

    def test_bad_input_is_one_line_and_code_2(self, memsweep):
        code, out, err = memsweep("quickstart")
        assert (code, out) == (2, "")
        assert err.startswith("error: quickstart: no claim rests on it")
        assert memsweep("no-such-preset")[0] == 2


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot be written"):
        write_page(decided(), tmp_path / "file" / "page")


def test_claims_are_of_the_sweeps_name_whatever_the_file_is_called(sweep):
    full = replace(sweep, name="regularization-map-full")
    assert claims_of(full) == claims_of(sweep) != ()
    assert claims_of(replace(sweep, name="other")) == ()
    assert pd.Series(claimed_presets()).is_unique

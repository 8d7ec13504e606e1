"""Tests of the command line: its output, its exit codes, and the files that it does not touch."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import subprocess
import sys

import numpy as np
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
import pytest
import typer
from memsweep import cli

from sweeps.execution.inline import Inline
from sweeps.execution.protocol import CohortEnded, Failure, Listener
from sweeps.planning.plan import Plan
from sweeps.spec.sweep_file import parse_sweep
from sweeps.spec.sweep_source import preset_names
from sweeps.store.store import Store
from tests.memsweep.command import SWEEP

pytestmark = pytest.mark.usefixtures("without_layout")

COMMANDS = (
    *("list", "plan", "run", "status", "export", "point", "heatmap", "claims", "report"),
    *("replay", "stopping-study", "compact"),
)
REASON = "RuntimeError: [red]:cat: \x1b[2J $x$"
REPLAY = ("replay", "small.yaml", "--scheduler")


def flat(text: str) -> str:
    """Remove colours, frames and line breaks."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", " ", text).split())


class TestHelp:
    @pytest.mark.parametrize("name", COMMANDS)
    def test_names_every_option_and_says_what_it_is_for(self, memsweep, name):
        command = typer.main.get_command(cli.app).commands[name]  # type: ignore[attr-defined]
        said = memsweep(name, "--help")
        assert said.code == 0
        for parameter in command.params:
            if parameter.name != "help":
                shown = parameter.opts[0] if parameter.param_type_name == "option" else parameter.metavar
                assert shown in said.out
                assert parameter.help
                assert " ".join(parameter.help.split()[:2]) in flat(said.out)

    def test_lists_every_command(self, memsweep):
        said = memsweep("--help")
        assert said.code == 0
        assert set(typer.main.get_command(cli.app).commands) == set(COMMANDS)  # type: ignore[attr-defined]
        for name in COMMANDS:
            assert re.search(rf"\b{name} +\S", said.out)

    def test_no_arguments_are_no_traceback(self, memsweep):
        said = memsweep()
        assert said.code == 2
        assert "[OPTIONS] COMMAND [ARGS]... Train whole grids" in flat(said.out + said.err)


class TestBadInput:
    @pytest.mark.parametrize(
        ("args", "message"),
        [
            (["plan", "smal"], "error: smal: is neither a preset nor a file; `memsweep list` shows the presets"),
            (["run", "missing.yaml", "--inline"], "error: missing.yaml: cannot be read: No such file or directory"),
            (["run", "small.yaml", "--inline", "--set", "sed=1"], "error: --set sed=1: sed: unknown field; "),
            (["plan", "small.yaml", "--set", "dropout=-1"], "error: --set dropout=-1: dropout: given -1; valid: "),
            (["run", "small.yaml", "--inline", "--set", "dataset_size=9999"],
             "error: small.yaml: dataset_size: given 9999; digits has 1437 training examples"),
            (["run", "small.yaml", "--inline", "--set", "parameter_count=900"],
             "error: small.yaml: parameter_count: given 900 together with width 4; give one of the two"),
            (["run", "figure.yaml", "--inline"],
             "error: figure.yaml: figures[0].value: unknown name; given 'test_acuracy'; did you mean test_accuracy? "),
            (["run", "small.yaml", "--inline", "--store", "small.yaml"], "error: store small.yaml: "),
            (["run", "small.yaml", "--inline", "--store", "nosuch://x"], "error: store nosuch://x: "),
            (["status", "small.yaml", "--store", "small.yaml"], "error: store small.yaml: is a file; valid: "),
            (["export", "small.yaml", "--out", "x.xlsx"], "error: --out x.xlsx: given '.xlsx'; valid suffixes: "),
            (["export", "small.yaml", "--out", "small.yaml/x.csv"], "error: --out small.yaml/x.csv: cannot be "),
            (["heatmap", "small.yaml", "--x", "sed", "--y", "epochs", "--value", "test_loss", "--out", "a.png"],
             "error: x: given 'sed'; did you mean seed? valid: "),
            (["heatmap", "small.yaml", "--x", "seed", "--y", "epochs", "--value", "loss", "--out", "a.png"],
             "error: value: given 'loss'; did you mean test_loss? valid: "),
            (["heatmap", "small.yaml", "--x", "label_noise", "--y", "epochs", "--value", "test_loss", "--out", "a.bmp"],
             "error: "),
            (["report", "figure.yaml"], "error: figure.yaml: figures[0].value: unknown name; given 'test_acuracy'"),
            (["replay", "small.yaml", "--scheduler", "asha"],
             "error: --metric: is needed, since the sweep holds no validation data out; for example test_accuracy\n"),
            ([*REPLAY, "asha", "--metric", "test_lost"],
             "error: --metric: unknown measure; given 'test_lost'; did you mean test_loss? valid: "),
            ([*REPLAY, "asha", "--metric", "weight_norm"],
             "error: --mode: is needed: weight_norm does not say by itself which way is better; valid: max, min\n"),
            ([*REPLAY, "asha", "--metric", "test_loss", "--grace-period", "3"],
             "error: --grace-period: given 3, beyond the horizon of 2 epochs; valid: 1 to 2\n"),
            ([*REPLAY, "hyperband", "--metric", "test_loss", "--grace-period", "1"],
             "error: --grace-period: given 1, but hyperband has no such setting; it has metric, mode, "
             "reduction_factor\n"),
            ([*REPLAY, "asha", "--metric", "test_loss", "--reduction-factor", "1"],
             "error: --reduction-factor: given 1.0; valid: a number of at least 1.01 and at most 1,000,000\n"),
            ([*REPLAY, "median", "--metric", "test_loss", "--set", "seed=[0, 1, 2]", "--store", "my store"],
             "error: 6 of the 6 trainings of small are not recorded up to their last epoch, and a replay needs all; "
             "train them: memsweep run small.yaml --set 'seed=[0, 1, 2]' --store 'my store'\n"),
        ],
    )  # fmt: skip
    def test_is_one_message_with_code_2_and_nothing_written(self, memsweep, tmp_path, args, message):
        (tmp_path / "figure.yaml").write_text(SWEEP.replace("test_accuracy", "test_acuracy"))
        for store in ("results", "my store"):
            (tmp_path / store / "parts").mkdir(parents=True)
        before = sorted(path.name for path in tmp_path.rglob("*"))
        said = memsweep(*args)
        assert said.code == 2
        assert said.err.startswith(message)
        assert len(said.err.splitlines()) == 1
        assert said.out == ""
        assert sorted(path.name for path in tmp_path.rglob("*")) == before

    @pytest.mark.parametrize(
        ("args", "words"),
        [
            (["plan"], "Missing argument 'SWEEP'"),
            (["plan", "small.yaml", "--max-cohort", "0"], "Invalid value for '--max-cohort'"),
            (["plan", "small.yaml", "--workers", "two"], "Invalid value for '--workers'"),
            (["export", "small.yaml"], "Missing option '--out'"),
            (["replay", "small.yaml"], "Missing option '--scheduler'"),
            ([*REPLAY, "ash"], "Invalid value for '--scheduler'"),
            ([*REPLAY, "asha", "--seeds", "0"], "Invalid value for '--seeds'"),
            (["paln", "small.yaml"], "No such command 'paln'"),
            (["plan", "small.yaml", "--sets", "a=1"], "No such option"),
        ],
    )
    def test_of_the_options_themselves_has_code_2_too(self, memsweep, tmp_path, args, words):
        said = memsweep(*args)
        assert said.code == 2
        assert words in flat(said.err)
        assert "Traceback" not in said.err
        assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]

    def test_an_error_of_the_program_is_not_dressed_up_as_the_users(self, memsweep, monkeypatch, tmp_path):
        def broken(*args: object) -> None:
            raise ValueError("a bug")

        monkeypatch.setattr("memsweep.inputs.load_sweep", broken)
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        said = memsweep("plan", "small.yaml")
        assert said.code == 70
        assert said.err.startswith("error: this is a fault of memsweep, not of your input: ValueError: a bug; ")
        (account,) = tmp_path.glob("memsweep-fault-*.txt")
        assert "ValueError: a bug" in account.read_text()


class TestList:
    def test_has_a_line_for_each_preset(self, memsweep):
        said = memsweep("list")
        assert said.code == 0
        assert [line.split()[0] for line in said.out.splitlines()[1:] if not line.startswith(" ")] == preset_names()

    def test_for_machines(self, memsweep):
        listed = json.loads(memsweep("list", "--json").out)
        assert [preset["name"] for preset in listed] == preset_names()
        quickstart = next(preset for preset in listed if preset["name"] == "quickstart")
        assert quickstart["axes"] == ["parameter_count", "label_noise", "epochs", "seed"]
        assert quickstart["cells"] > 0
        assert quickstart["question"].endswith("?")


class TestPlan:
    def test_writes_nothing(self, memsweep, tmp_path):
        said = memsweep("plan", "small.yaml")
        assert said.code == 0
        assert said.out.startswith("small: 8 points, 0 done, 8 to train\nfolding  4 trainings for 8 points: ")
        assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]

    def test_for_machines(self, memsweep):
        summary = json.loads(memsweep("plan", "small.yaml", "--json", "--max-cohort", "3", "--workers", "5").out)
        assert {name: summary[name] for name in ("points", "missing", "trajectories", "workers", "max_cohort")} == {
            "points": 8, "missing": 8, "trajectories": 4, "workers": 5, "max_cohort": 3,
        }  # fmt: skip
        assert (summary["cohorts"], summary["largest_cohort"]) == (4, 1), "one for every worker that has work"

    def test_settings_are_laid_over_the_file(self, memsweep):
        summary = json.loads(
            memsweep("plan", "small.yaml", "--json", "--set", "seed=[4, 5, 6]", "--set", "epochs=9").out
        )
        assert (summary["points"], summary["trajectories"], summary["epochs"]) == (6, 6, 54)


class TestRun:
    def test_trains_what_is_missing_and_then_nothing(self, memsweep, trains, tmp_path):
        said = memsweep("run", "small.yaml", "--inline")
        assert (said.code, said.err) == (0, "")
        assert "trained 4 of 4 trainings (8 points) in " in said.out
        assert (tmp_path / "results" / "parts").is_dir()
        again = memsweep("run", "small.yaml", "--inline")
        assert again.out == "small: 8 points, 8 done, 0 to train\nnothing to train\n"
        more = memsweep("run", "small.yaml", "--inline", "--set", "seed=[0, 1, 2]")
        assert more.out.startswith("small: 12 points, 8 done, 4 to train")
        assert [len(plan.missing) for plan in trains] == [8, 4]
        assert {member.settings.seed for cohort in trains[1].cohorts for member in cohort.members} == {2}

    def test_for_machines_prints_nothing_else(self, memsweep, trains):
        said = memsweep("run", "small.yaml", "--inline", "--json", "--store", "elsewhere")
        summary = json.loads(said.out)
        assert (summary["sweep"], summary["trained"], summary["points"]) == ("small", 4, 8)
        assert said.err.startswith("small: 8 points, 0 done")

    def test_failures_are_told_and_exit_with_1_and_are_tried_again_when_asked(self, memsweep, monkeypatch, make_record):
        asked = []

        def execute(self: Inline, plan: Plan, store: Store, listen: Listener) -> None:
            asked.append(len(plan.trainings))
            for index, cohort in enumerate(plan.cohorts):
                store.append([make_record(m.id, failed=m.settings.epochs) for m in cohort.members])
                listen(CohortEnded(index, tuple(Failure(m.id, "failed", "broke") for m in cohort.members)))

        monkeypatch.setattr(Inline, "execute", execute)
        said = memsweep("run", "small.yaml", "--inline")
        assert said.code == 1
        assert said.out.count(": broke\n") == 2
        assert "\n4 failed: broke" in said.out
        assert "see `memsweep status small.yaml`" in said.out
        assert memsweep("run", "small.yaml", "--inline").code == 0
        assert memsweep("run", "small.yaml", "--inline", "--retry-failed").code == 1
        assert asked == [4, 4]
        assert memsweep("status", "small.yaml").out.startswith(
            "small: 0 of 8 points finished (0%)\n  8 failed\nfailed "
        )

    def test_failures_point_to_the_status_of_the_same_sweep_and_store(self, memsweep, monkeypatch, make_record):
        """The suggested command once left out --set and --store, and so showed another sweep in another store."""

        def execute(self: Inline, plan: Plan, store: Store, listen: Listener) -> None:
            for index, cohort in enumerate(plan.cohorts):
                records = [make_record(m.id, failed=m.settings.epochs) for m in cohort.members]
                rows = [tuple(dataclasses.replace(row, reason=REASON) for row in each.rows) for each in records]
                store.append([dataclasses.replace(a, rows=b) for a, b in zip(records, rows, strict=True)])
                listen(CohortEnded(index, tuple(Failure(m.id, "failed", REASON) for m in cohort.members)))

        monkeypatch.setattr(Inline, "execute", execute)
        said = memsweep("run", "small.yaml", "--inline", "--set", "seed=[0, 7]", "--store", "my store")
        command = "memsweep status small.yaml --set 'seed=[0, 7]' --store 'my store'"
        assert f"see `{command}` for what failed" in said.out
        assert "trained 0 of 4 trainings (0 points)" in said.out
        status = memsweep(*shlex.split(command)[1:])
        assert status.out.startswith("small: 0 of 8 points finished")
        for out in (said.out, status.out):
            assert "RuntimeError: [red]:cat: \\x1b[2J $x$" in out
            assert "\x1b" not in out

    def test_an_interruption_says_what_it_left(self, memsweep, monkeypatch):
        def execute(self: Inline, plan: Plan, store: Store, listen: Listener) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(Inline, "execute", execute)
        said = memsweep("run", "small.yaml", "--inline")
        assert said.code == 130
        assert said.err == ("interrupted; what was trained is in the store, and the same command goes on from there\n")


class TestResults:
    @pytest.fixture
    def trained(self, memsweep, trains) -> None:
        assert memsweep("run", "small.yaml", "--inline").code == 0

    def test_status(self, memsweep, trained):
        assert memsweep("status", "small.yaml").out == "small: 8 of 8 points finished (100%)\n"
        counts = json.loads(memsweep("status", "small.yaml", "--json", "--set", "epochs=[1, 2, 3]").out)
        assert (counts["finished"], counts["missing"], counts["points"]) == (8, 4, 12)

    def test_nothing_is_left_to_plan(self, memsweep, trained):
        planned = json.loads(memsweep("plan", "small.yaml", "--json").out)
        assert (planned["missing"], planned["seconds"], planned["seconds_to_start"]) == (0, 0.0, 0.0)

    def test_export(self, memsweep, trained, tmp_path):
        said = memsweep("export", "small.yaml", "--out", "deep/points.csv")
        assert said.out == "deep/points.csv: 8 rows\n"
        table = pyarrow.csv.read_csv(tmp_path / "deep" / "points.csv")
        assert table.num_rows == 8
        plan = Plan.of(parse_sweep(SWEEP, ""))
        assert table["point_id"].to_pylist() == [cell.point.id for cell in plan.cells]
        assert table.column_names[-1] == "outcome"
        gaps = pc.subtract(table["train_accuracy"], table["test_accuracy"])
        assert table["generalization_gap"].to_pylist() == pytest.approx(gaps.to_pylist())
        assert memsweep("export", "small.yaml", "--table", "curves", "--out", "c.parquet").out == "c.parquet: 8 rows\n"

    def test_export_of_single_examples(self, memsweep, tmp_path):
        (tmp_path / "examples.yaml").write_text(
            "name: e\nfixed: {data: digits, data_seed: 0, dataset_size: 50, width: 4, epochs: 2, "
            "subset_fraction: 0.6}\n"
            "grid: {seed: [0, 3], label_noise: [0, 0.5]}\nmeasure: [forgetting, {example_correctness: [1]}]\n"
        )
        assert memsweep("run", "examples.yaml", "--inline").code == 0
        assert memsweep("run", "examples.yaml", "--inline").out.startswith("e: 4 points, 4 done, 0 to train")
        count = 4 * (30 + 30 + 20 + 360)
        said = memsweep("export", "examples.yaml", "--table", "examples", "--out", "e.parquet")
        assert said.out == f"e.parquet: {count:,} rows\n"
        table = pyarrow.parquet.read_table(tmp_path / "e.parquet").to_pandas()
        assert table.groupby(["seed", "label_noise"]).size().tolist() == [count // 4] * 4
        kinds = table.groupby(["measure", "split", "epoch"]).size().to_dict()
        assert kinds == {
            ("correct", "left_out", 1): 80, ("correct", "test", 1): 1440, ("correct", "train", 1): 120,
            ("forgetting_events", "train", 2): 120,
        }  # fmt: skip
        said = memsweep("export", "examples.yaml", "--table", "scores", "--out", "s.csv")
        assert said.out == "s.csv: 100 rows\n"
        scores = pyarrow.csv.read_csv(tmp_path / "s.csv").to_pandas()
        assert (scores["seen"] + scores["left_out"] == 2).all()
        said = memsweep("export", "small.yaml", "--table", "scores", "--out", "no.csv")
        assert (said.code, (tmp_path / "no.csv").exists()) == (2, False)
        assert said.err.startswith("error: examples: no training was measured on examples that it had not seen")

    def test_replay(self, memsweep, trained, make_record, tmp_path):
        """A training stops at epoch 1 if it is below the best third of the earlier ones; the others train 2 epochs."""
        words = [*REPLAY, "asha", "--metric", "test_loss", "--workers", "1", "--seeds", "3"]
        said = memsweep(*words, "--out", "stops.csv")
        assert (said.code, said.err) == (0, "")
        rules = ["none", "asha(test_loss min, grace 1, factor 3, 1 bracket)", "random(as asha(test_loss min, ",
                 "i-epoch(test_loss min, 1 epoch, top 1)"]  # fmt: skip
        printed = said.out.splitlines()
        assert " ".join(printed[0].split()) == "rule epochs trained regret kept the best finished orders"
        assert all(line.startswith(rule) for line, rule in zip(printed[1:], rules, strict=False))
        stops = pyarrow.csv.read_csv(tmp_path / "stops.csv").to_pandas()
        asha = stops[(stops["scheduler"] == "asha") & (stops["order"] == 0)]
        losses = [make_record(training, (1,)).rows[0].measures["test_loss"] for training in asha["trajectory_id"]]
        stopped = [bool(i) and losses[i] > np.percentile(losses[:i], 100 / 3) for i in range(4)]
        assert asha["stop_epoch"].tolist() == [1 if early else 2 for early in stopped]
        by_scheduler = {line["scheduler"]: line for line in json.loads(memsweep(*words, "--json").out)}
        assert by_scheduler["none"]["budget"] == {"mean": 1.0, "low": None, "high": None}
        assert by_scheduler["asha"]["orders"] == by_scheduler["random"]["orders"] == 3
        budgets = stops[stops["scheduler"] == "asha"].groupby("order")["stop_epoch"].sum() / 8
        assert by_scheduler["asha"]["budget"]["mean"] == pytest.approx(budgets.mean())

    def test_a_damaged_file_is_a_warning(self, memsweep, trained, tmp_path):
        (tmp_path / "results" / "parts" / "notes.txt").write_text("")
        said = memsweep("export", "small.yaml", "--out", "points.csv")
        assert said.code == 0
        assert said.err == f"warning: {tmp_path}/results/parts/notes.txt: not a part of memsweep; skipped\n"

    def test_the_sweep_of_a_row_has_its_point(self, memsweep, trained, tmp_path):
        memsweep("export", "small.yaml", "--out", "points.csv")
        row = pyarrow.csv.read_csv(tmp_path / "points.csv").slice(2, 1).to_pylist()[0]
        (tmp_path / "row.yaml").write_text(memsweep("point", "small.yaml", row["point_id"]).out)
        memsweep("export", "row.yaml", "--out", "row.csv")
        assert pyarrow.csv.read_csv(tmp_path / "row.csv").to_pylist() == [row]
        said = memsweep("point", "small.yaml", "nothing")
        assert (said.code, said.out) == (2, "")
        assert said.err == (
            "error: small: given 'nothing', which is no point_id or trajectory_id of the sweep; valid: an id of "
            "`memsweep export`\n"
        )

    def test_a_heatmap_of_an_epoch_lists_the_epochs_of_its_own_trainings(self, memsweep, trained, tmp_path):
        other = SWEEP.replace("name: small", "name: other").replace("width: 4", "width: 5").replace("[1, 2]", "[7]")
        (tmp_path / "other.yaml").write_text(other)
        assert memsweep("run", "other.yaml", "--inline").code == 0
        assert memsweep("run", "small.yaml", "--inline", "--set", "epochs=3").code == 0
        said = memsweep(
            "heatmap", "small.yaml", "--set", "epochs=3", "--x", "label_noise", "--y", "seed", "--value", "test_loss",
            "--epoch", "7", "--out", "a.svg",
        )  # fmt: skip
        assert (said.code, said.err) == (2, "error: epoch: given 7; valid: 1, 2, 3\n")

    def test_heatmap_and_report(self, memsweep, trained, tmp_path):
        said = memsweep(
            "heatmap", "small.yaml", "--x", "label_noise", "--y", "epochs", "--value", "test_loss", "--out", "new/a.svg"
        )
        assert (said.code, said.out) == (0, "new/a.svg\n")
        assert "<svg" in (tmp_path / "new" / "a.svg").read_text()
        said = memsweep("report", "small.yaml")
        assert said.code == 0
        paths = said.out.splitlines()
        assert all((tmp_path / path).is_file() for path in paths)
        assert paths[0].endswith(".html")
        assert paths[0].startswith("report/small/")

    def test_a_figure_at_a_value_that_set_took_away_is_left_out_and_said(self, memsweep, trained, tmp_path):
        figures = "figures: [{kind: curves, where: {label_noise: 0.5}}, {kind: lines, x: epochs, y: test_loss}]\n"
        (tmp_path / "held.yaml").write_text(SWEEP.partition("figures")[0] + figures)
        said = memsweep("report", "held.yaml", "--set", "label_noise=0", "--set", "seed=0")
        assert said.code == 0
        assert said.err == "warning: figures[0] is left out: where: label_noise: given 0.5; valid: 0\n"
        assert len([path for path in said.out.splitlines() if path.endswith(".png")]) == 1


PROGRAM = """
import json, sys
from memsweep.cli import main
for words in (["list"], ["plan", "quickstart"], ["status", "quickstart"]):
    sys.argv = ["memsweep", *words]
    try:
        main()
    except SystemExit as exit:
        assert not exit.code
import memsweep as ms
ms.plan("quickstart"); ms.status("quickstart"); ms.presets()
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_lists_plans_and_shows_the_status_without_torch_and_ray(tmp_path):
    """The commands and the functions run in one process."""
    (tmp_path / "results" / "parts").mkdir(parents=True)
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, cwd=tmp_path)
    imported = set(json.loads(done.stdout.splitlines()[-1]))
    assert "sweeps" in imported
    assert not imported & {"torch", "ray", "pytorch_lightning", "matplotlib", "seaborn", "scipy", "sklearn"}
    assert list(tmp_path.rglob("*")) == [tmp_path / "results", tmp_path / "results" / "parts"]


def test_the_help_of_every_command_loads_no_library_but_that_of_the_command_line():
    program = "import sys; from memsweep.guard import main; sys.argv = ['memsweep', '--help']\ntry: main()\nexcept "
    program += "SystemExit as exit: assert not exit.code\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    imported = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert {"typer", "rich", "sweeps"} <= imported
    assert not imported & {"numpy", "pyarrow", "pandas", "pydantic", "yaml", "torch", "ray", "matplotlib", "psutil"}

"""Whom a scheduler stops: by regime, by the side of the double-descent peak, and before what."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.stopping.averages import SHARE, averages
from analysis.stopping.recorded import Recorded, check_stops

RUN = ["signal", "scheduler", "setting"]


def stopped_by(found: Recorded, stops: pd.DataFrame, group: pd.Series) -> pd.DataFrame:
    """The share of the runs of each group that did not reach their horizon: a row a signal, setting and group.

    group: of each member (index: trajectory_id), such as its regime at the horizon of the unstopped curve or a field;
    members without one are left out. Beside mean and interval over seeds: `members`, how many are in the group.
    """
    rows = check_stops(stops, found)
    rows = rows.assign(group=rows["trajectory_id"].map(group.astype(object)), stopped=1.0 - rows["finished"])
    rows = rows.dropna(subset=["group"])
    made = averages(rows, [*RUN, "group"], "stopped", SHARE)
    return made.assign(members=made["group"].map(group.astype(object).value_counts()))


def never_saw(found: Recorded, stops: pd.DataFrame, descents: pd.DataFrame) -> pd.DataFrame:
    """Of the runs that descend twice, the share stopped before the second descent was done, and the share stopped
    before it began (at the peak or earlier): a row a signal and setting.

    descents: of `descent.epoch_wise`. Columns as of `averages`, with `measure` ("final minimum", "second descent") and
    `members`, how many runs descend twice. Empty if none does.
    """
    rows = check_stops(stops, found)
    rows = rows[rows["trajectory_id"].isin(descents.index)]
    parts = []
    for measure, place in (("final minimum", "reached"), ("second descent", "peak")):
        last = rows["trajectory_id"].map(descents[place]).astype(float)
        unseen = rows["stop_epoch"] < last if place == "reached" else rows["stop_epoch"] <= last
        parts.append(averages(rows.assign(unseen=unseen.astype(float)), RUN, "unseen", SHARE).assign(measure=measure))
    return pd.concat(parts, ignore_index=True).assign(members=len(descents))


def memorized_at_stop(found: Recorded, stops: pd.DataFrame) -> pd.DataFrame:
    """The memorized fraction of the stopped runs where they were stopped, and at the end that they never saw.

    A row a signal and setting, and `when`: "at stop" (as last evaluated by then) or "at the end". Runs that were never
    begun, that have no corrupted labels or no end are left out of both; `members`: the runs averaged, over all orders.
    """
    rows = check_stops(stops, found)
    rows = rows[~rows["finished"].astype(bool)]
    at_stop = found.until("memorized_fraction", rows.set_index("trajectory_id")["stop_epoch"]).to_numpy()
    at_end = rows["trajectory_id"].map(found.final("memorized_fraction")).to_numpy(float)
    known = ~(np.isnan(at_stop) | np.isnan(at_end))
    rows = rows.assign(at_stop=at_stop, at_end=at_end)[known]
    counts = rows.groupby(RUN).size()
    parts = [
        averages(rows, RUN, column, SHARE).assign(when=when)
        for column, when in (("at_stop", "at stop"), ("at_end", "at the end"))
    ]
    made = pd.concat(parts, ignore_index=True)
    return made.assign(members=counts.reindex(pd.MultiIndex.from_frame(made[RUN])).to_numpy())

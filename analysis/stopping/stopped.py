"""Shares of trainings that a scheduler stops: by regime, by side of the double-descent peak, or before an event."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.stopping.averages import SHARE, averages
from analysis.stopping.recorded import Recorded, check_stops

RUN = ["signal", "scheduler", "setting"]


def stopped_by(recorded: Recorded, stops: pd.DataFrame, group: pd.Series) -> pd.DataFrame:
    """Compute the share of each group's trainings that did not reach their horizon.

    Args:
        recorded: The unstopped curves.
        stops: The stops of the replays (see `recorded.STOPS`).
        group: The group of each member (index: `trajectory_id`), such as its regime at the horizon of the unstopped
            curve, or the value of a field. Members without a group are left out.

    Returns:
        A table with one row per signal, setting and group, the columns of `averages`, and `members`, the group's size.
    """
    rows = check_stops(stops, recorded)
    rows = rows.assign(group=rows["trajectory_id"].map(group.astype(object)), stopped=1.0 - rows["finished"])
    rows = rows.dropna(subset=["group"])
    table = averages(rows, [*RUN, "group"], "stopped", SHARE)
    return table.assign(members=table["group"].map(group.astype(object).value_counts()))


def stopped_before_descent(recorded: Recorded, stops: pd.DataFrame, descents: pd.DataFrame) -> pd.DataFrame:
    """Compute the share of trainings with a double descent that were stopped before their second descent or its end.

    Args:
        recorded: The unstopped curves.
        stops: The stops of the replays (see `recorded.STOPS`).
        descents: The result of `descent.epoch_wise`.

    Returns:
        A table with one row per signal, setting and `measure`, and the columns of `averages`. The measure is "second
        descent" (stopped at the peak or earlier) or "final minimum" (stopped before that minimum was reached).
        `members` is the number of trainings that descend twice; if it is 0, the table is empty.
    """
    rows = check_stops(stops, recorded)
    rows = rows[rows["trajectory_id"].isin(descents.index)]
    parts = []
    for measure, event in (("final minimum", "reached"), ("second descent", "peak")):
        epoch = rows["trajectory_id"].map(descents[event]).astype(float)
        unseen = rows["stop_epoch"] < epoch if event == "reached" else rows["stop_epoch"] <= epoch
        parts.append(averages(rows.assign(unseen=unseen.astype(float)), RUN, "unseen", SHARE).assign(measure=measure))
    return pd.concat(parts, ignore_index=True).assign(members=len(descents))


def memorized_at_stop(recorded: Recorded, stops: pd.DataFrame) -> pd.DataFrame:
    """Compute the memorized fraction of stopped trainings when they stopped and at the horizon of the unstopped curves.

    A training is left out if it never began, has no corrupted labels, or was not evaluated at its horizon.

    Returns:
        A table with one row per signal, setting and `when`, and the columns of `averages`. `when` is "at stop" (at the
        last evaluation up to the stop) or "at the end". `members` is the number of trainings averaged, over all orders.
    """
    rows = check_stops(stops, recorded)
    rows = rows[~rows["finished"].astype(bool)]
    at_stop = recorded.until("memorized_fraction", rows.set_index("trajectory_id")["stop_epoch"]).to_numpy()
    at_end = rows["trajectory_id"].map(recorded.final("memorized_fraction")).to_numpy(float)
    known = ~(np.isnan(at_stop) | np.isnan(at_end))
    rows = rows.assign(at_stop=at_stop, at_end=at_end)[known]
    counts = rows.groupby(RUN).size()
    parts = [
        averages(rows, RUN, column, SHARE).assign(when=when)
        for column, when in (("at_stop", "at stop"), ("at_end", "at the end"))
    ]
    table = pd.concat(parts, ignore_index=True)
    return table.assign(members=counts.reindex(pd.MultiIndex.from_frame(table[RUN])).to_numpy())

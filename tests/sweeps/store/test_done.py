"""Pairs behave like any other set of (trajectory id, epoch)."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from sweeps.store.done import Pairs

pairs = st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 5)))


def of(rows: list[tuple[str, int]]) -> Pairs:
    ids, epochs = [each for each, _ in rows], [epoch for _, epoch in rows]
    return Pairs.of(pa.table({"trajectory_id": pa.array(ids, pa.string()), "epoch": pa.array(epochs, pa.int32())}))


@given(pairs, pairs)
def test_are_the_set_of_their_pairs(some, others):
    assert of(some) == Pairs(some) == set(some)
    assert len(of(some)) == len(set(some))
    assert set(of(some)) == set(some)
    assert of(some) | of(others) == {*some, *others}
    assert of(some) | frozenset(others) == frozenset(others) | of(some) == {*some, *others}
    assert (of(some) == of(others)) == (set(some) == set(others))
    for pair in others:
        assert (pair in of(some)) == (pair in set(some))


def test_trajectories_with_the_same_epochs_share_them():
    shared = of([(f"t{i}", epoch) for epoch in range(30) for i in range(1000)])
    assert len(shared) == 30_000
    assert len({id(epochs) for epochs in shared._epochs.values()}) == 1


def test_are_shown_in_order():
    assert repr(of([("b", 1), ("a", 2)])) == "Pairs([('a', 2), ('b', 1)])"

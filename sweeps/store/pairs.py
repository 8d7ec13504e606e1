"""Pairs: a set of (trajectory id, epoch), small enough for the millions of rows that a store may hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any, cast

import numpy as np
import pyarrow as pa


class Pairs(Set[tuple[str, int]]):
    """An immutable set of (trajectory id, epoch): equal to any set of the same pairs.

    Held as a set of epochs for each trajectory, one object for all that have the same: 3 million pairs of 100,000
    trajectories take 15 MB, and as tuples in a frozenset 700 MB.
    """

    def __init__(self, pairs: Iterable[tuple[str, int]] = ()) -> None:
        epochs: dict[str, set[int]] = {}
        for trajectory_id, epoch in pairs:
            epochs.setdefault(trajectory_id, set()).add(epoch)
        self._epochs: Mapping[str, frozenset[int]] = {each: frozenset(those) for each, those in epochs.items()}

    @classmethod
    def of(cls, table: pa.Table) -> Pairs:
        """Of each row its trajectory_id and epoch."""
        ids = table["trajectory_id"].cast(pa.string()).dictionary_encode().combine_chunks()
        codes, epochs = ids.indices.to_numpy(), table["epoch"].to_numpy()
        order = np.argsort(codes, kind="stable")
        ends = 4 * np.cumsum(np.bincount(codes, minlength=len(ids.dictionary)))
        held, known = epochs[order].astype(np.int32).tobytes(), dict[bytes, frozenset[int]]()
        found, start = {}, 0
        for trajectory_id, end in zip(ids.dictionary.to_pylist(), ends.tolist(), strict=True):
            those, start = held[start:end], end
            if those not in known:
                known[those] = frozenset(np.frombuffer(those, np.int32).tolist())
            found[trajectory_id] = known[those]
        return cls._holding(found)

    @classmethod
    def _holding(cls, epochs: Mapping[str, frozenset[int]]) -> Pairs:
        pairs = cls()
        pairs._epochs = epochs
        return pairs

    def __contains__(self, pair: object) -> bool:
        trajectory_id, epoch = cast(tuple[str, int], pair)
        return epoch in self._epochs.get(trajectory_id, ())

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return ((trajectory_id, epoch) for trajectory_id, epochs in self._epochs.items() for epoch in epochs)

    def __len__(self) -> int:
        return sum(map(len, self._epochs.values()))

    def __or__(self, other: Set[Any]) -> Any:
        """What either holds; of two Pairs, in time that grows with their trajectories and not with their epochs."""
        if not isinstance(other, Pairs):
            return super().__or__(other)
        both = dict(self._epochs)
        for trajectory_id, epochs in other._epochs.items():
            both[trajectory_id] = both.get(trajectory_id, frozenset()) | epochs
        return self._holding(both)

    def __repr__(self) -> str:
        return f"Pairs({sorted(self)})"

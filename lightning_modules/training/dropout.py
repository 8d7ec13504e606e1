"""Dropout with a rate and a seed per member.

torch's own dropout draws from one generator for the whole batch, so the masks of a member would depend on the other
members of its stack. Therefore every nn.Dropout of a network is replaced by a product with a mask, and the masks of
each update are functions of the member's seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_modules.data.upload import upload
from lightning_modules.draws import LEVELS, Elements, update_keys
from lightning_modules.settings import Settings
from lightning_modules.streams import stream_seed

_WHOLE_CHANNELS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


class MaskedDropout(nn.Module):
    """Dropout with masks that the cohort passes in at every training step. In evaluation mode, it is the identity.

    A network may use one dropout module several times in a forward pass. Each use has its own buffer: `keep0`, `keep1`,
    ..., in order of use.
    """

    def __init__(self, whole_channels: bool) -> None:
        super().__init__()
        self.whole_channels = whole_channels
        self.shapes: list[tuple[int, ...]] = []
        """For each use, the shape of its mask for one example."""
        self._turn = 0

    def begin(self) -> None:
        """Expect the first use of a forward pass next."""
        self._turn = 0

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        keep: Tensor = getattr(self, f"keep{self._turn}")
        self._turn = (self._turn + 1) % len(self.shapes)
        return x * keep

    def note(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Register the buffer of one use. This method is a forward pre-hook."""
        shape = tuple(inputs[0].shape[1:])
        self.register_buffer(f"keep{len(self.shapes)}", torch.ones(()), persistent=False)
        self.shapes.append((shape[0], *(1,) * (len(shape) - 1)) if self.whole_channels else shape)


def replace_dropout(network: nn.Module, masked: bool) -> nn.Module:
    """Replace each dropout module in place, by a `MaskedDropout` or by an identity, and return the network."""
    replaced: dict[nn.Module, nn.Module] = {}
    for name, module in list(network.named_modules(remove_duplicate=False)):
        if isinstance(module, nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.Dropout3d):
            parent, _, child = name.rpartition(".")
            new = MaskedDropout(isinstance(module, _WHOLE_CHANNELS)) if masked else nn.Identity()
            setattr(network.get_submodule(parent), child, replaced.setdefault(module, new))
    return network


def mask_shapes(network: nn.Module, example: Tensor) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of each mask for one example, by running the network once on `example` [1, *shape].

    The network runs in training mode, in which alone it may use dropout, and on two copies of the example, because
    BatchNorm cannot train on one value. Its own buffers keep their values. Registers a buffer for every use of each
    `MaskedDropout` in the network.
    """
    masked = {name: module for name, module in network.named_modules() if isinstance(module, MaskedDropout)}
    if not masked:
        return {}
    hooks = [module.register_forward_pre_hook(module.note) for module in masked.values()]
    was_training = network.training
    own = {name: (value, value.clone()) for name, value in network.named_buffers()}
    with torch.no_grad():
        network.train()(example.repeat(2, *(1,) * (example.dim() - 1)))
        for value, before in own.values():
            value.copy_(before)
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    for module in masked.values():
        module.begin()
    return {f"{name}.keep{i}": shape for name, module in masked.items() for i, shape in enumerate(module.shapes)}


class DropoutMasks:
    """Draws the masks of each update, {name: [K, batch, *shape]}, for the names and shapes that `mask_shapes` returns.

    A mask is a function of the member's seed and rate, the index of the update, and the element (see
    `lightning_modules.draws`). Members with equal seeds and different rates drop nested sets: what a lower rate drops,
    a higher rate drops too. `epochs` contains the epoch that each member is at.
    """

    def __init__(
        self, members: Sequence[Settings], shapes: dict[str, tuple[int, ...]], device: torch.device,
        dtype: torch.dtype, epochs: Sequence[int] = (),
    ) -> None:  # fmt: skip
        self._shapes = shapes
        self._dtype = dtype
        self._device = device
        # Members with equal seed and rate at the same epoch have equal masks, which are drawn once.
        each = [
            (member.seed, member.dropout, epoch)
            for member, epoch in zip(members, epochs or [0] * len(members), strict=True)
        ]
        kinds = list(dict.fromkeys(each))
        self._first = [each.index(kind) for kind in kinds]
        """The first member of each kind."""
        shared = len(kinds) < len(each)
        self._kind = torch.tensor([kinds.index(kind) for kind in each], device=device) if shared else None
        """The kind of each member; None if they all differ."""
        self._seeds = [stream_seed(seed, "dropout") for seed, _, _ in kinds]
        rates = torch.tensor([rate for _, rate, _ in kinds], dtype=torch.float64)
        levels = (rates * LEVELS).round().clamp(max=LEVELS - 1)
        # A draw below the threshold drops its activation. Without dropout, the threshold is the lowest possible draw.
        self._threshold = (levels * LEVELS - 2**31).to(torch.int32).to(device)[:, None]
        gain = (LEVELS / (LEVELS - levels)).to(dtype)[:, None]
        self._gain = (gain.view(torch.int32) if dtype == torch.float32 else gain).to(device)
        self._buffers: dict[int, _Buffers] = {}
        self.keys = torch.empty(0, len(kinds), 2, dtype=torch.int32, device=device)
        """The keys of each update of the epoch, on the device."""

    def begin_epoch(self, first_updates: Sequence[int], updates: int) -> None:
        """Compute the keys of the next updates. `first_updates` holds the index of each member's next update."""
        if self._shapes:
            first = [first_updates[k] for k in self._first]
            self.keys = upload(update_keys(self._seeds, first, updates), self._device)
        else:
            self.keys = self.keys.new_empty(1, len(self._seeds), 2).expand(updates, -1, -1)

    def constants(self, batch: int) -> dict[str, Tensor]:
        """Return the tensors, by name, on which the masks of a batch of this size depend besides the keys."""
        if not self._shapes:
            return {}
        kind = {} if self._kind is None else {"kind": self._kind}
        return {"threshold": self._threshold, "gain": self._gain, **kind, **self._of(batch).elements.tensors}

    def draw(self, keys: Tensor, batch: int) -> dict[str, Tensor]:
        """Draw the masks of one update, given an element of `keys`. They are valid until the next call.

        The first draw for a size of batch allocates its buffers. After that, the masks are a pure function of `keys`,
        in the same memory in every call.
        """
        if not self._shapes:
            return {}
        buffers = self._of(batch)
        # In place and in one type: torch's comparisons to bool and conversions from bool take several times as long.
        drawn = buffers.elements.draw(keys, buffers.drawn).ge_(self._threshold)
        if buffers.kept is None:
            drawn.mul_(self._gain)  # 0 or 1 times the bits of the gain: the bits of the mask
        else:
            buffers.kept.copy_(drawn).mul_(self._gain)
        if self._kind is not None:
            torch.index_select(buffers.of_kinds, 0, self._kind, out=buffers.of_members)
        return buffers.masks

    def _of(self, batch: int) -> _Buffers:
        if batch not in self._buffers:
            self._buffers[batch] = self._allocate(batch)
        return self._buffers[batch]

    def _allocate(self, batch: int) -> _Buffers:
        sizes = {name: batch * torch.Size(shape).numel() for name, shape in self._shapes.items()}
        # Modules may be renamed without another draw, so the blocks are numbered.
        elements = Elements({f"dropout/{i}": size for i, size in enumerate(sizes.values())}, self._device)
        drawn = torch.empty(len(self._seeds), len(elements), dtype=torch.int32, device=self._device)
        single = self._dtype == torch.float32
        kept = None if single else torch.empty_like(drawn, dtype=self._dtype)
        of_kinds = drawn.view(torch.float32) if kept is None else kept
        of_members = of_kinds if self._kind is None else of_kinds.new_empty(len(self._kind), len(elements))
        parts = of_members.split([*sizes.values()], dim=1)
        masks = {
            name: part.unflatten(1, (batch, *shape))
            for part, (name, shape) in zip(parts, self._shapes.items(), strict=True)
        }
        return _Buffers(elements, drawn, kept, of_kinds, of_members, masks)


@dataclass(frozen=True)
class _Buffers:
    """The memory for the masks of one size of batch. n is the number of elements of all masks of a member."""

    elements: Elements
    drawn: Tensor
    """Draws, int32 [kinds, n]."""
    kept: Tensor | None
    """Masks [kinds, n]; None for float32, where they take the memory of `drawn`."""
    of_kinds: Tensor
    of_members: Tensor
    """Masks [K, n]; `of_kinds` if all members differ."""
    masks: dict[str, Tensor]
    """Views of `of_members`."""

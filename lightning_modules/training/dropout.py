"""Dropout with a rate and a generator per member.

torch's own dropout draws from one generator for the whole batch, so the masks of a member would depend on the other
members of its stack. Therefore every nn.Dropout of a network is replaced by a product with a mask, and the masks of
each step are drawn from one generator per member.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_modules.settings import Settings
from lightning_modules.streams import torch_generator

_WHOLE_CHANNELS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_LEVELS = 2**16
"""Rates are rounded to multiples of 1/65,536, so that one 64-bit draw is enough for four activations."""


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

    Registers a buffer for every use of each `MaskedDropout` in the network.
    """
    masked = {name: module for name, module in network.named_modules() if isinstance(module, MaskedDropout)}
    hooks = [module.register_forward_pre_hook(module.note) for module in masked.values()]
    was_training = network.training
    with torch.no_grad():
        network.eval()(example)
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    return {f"{name}.keep{i}": shape for name, module in masked.items() for i, shape in enumerate(module.shapes)}


class DropoutMasks:
    """Draws the masks of each step, {name: [K, batch, *shape]}, for the names and shapes that `mask_shapes` returns.

    `epochs` contains the epoch that each member is at. `restore` sets a member's generator to its state at that epoch.
    """

    def __init__(
        self, members: Sequence[Settings], shapes: dict[str, tuple[int, ...]], device: torch.device,
        dtype: torch.dtype, epochs: Sequence[int] = (),
    ) -> None:  # fmt: skip
        self._shapes = shapes
        self._dtype = dtype
        # Members with equal seed and rate at the same epoch have equal masks, which are drawn once.
        each = [
            (member.seed, member.dropout, epoch)
            for member, epoch in zip(members, epochs or [0] * len(members), strict=True)
        ]
        kinds = list(dict.fromkeys(each))
        self._kind = torch.tensor([kinds.index(kind) for kind in each], device=device)
        self._generators = [torch_generator(seed, "dropout", device) if rate else None for seed, rate, _ in kinds]
        levels = (
            torch.tensor([rate * _LEVELS for _, rate, _ in kinds], dtype=torch.float64).round().clamp(max=_LEVELS - 1)
        )
        # A draw below the threshold drops its activation. Without dropout, the threshold is the lowest possible draw.
        self._threshold = levels.sub(_LEVELS // 2).to(torch.int16).to(device)[:, None]
        self._gain = (_LEVELS / (_LEVELS - levels)).to(dtype).to(device)[:, None]

    def state(self, k: int) -> Tensor | None:
        """Return the state of member k's generator, or None if it has no dropout."""
        generator = self._generators[int(self._kind[k])]
        return None if generator is None else generator.get_state()

    def restore(self, k: int, state: Tensor | None) -> None:
        generator = self._generators[int(self._kind[k])]
        if generator is not None and state is not None:
            generator.set_state(state)

    def draw(self, batch: int) -> dict[str, Tensor]:
        sizes = {name: batch * torch.Size(shape).numel() for name, shape in self._shapes.items()}
        if not sizes:
            return {}
        quads = -(-sum(sizes.values()) // 4)
        device = self._gain.device
        draws = torch.zeros(len(self._generators), quads, dtype=torch.int64, device=device)
        for row, generator in zip(draws, self._generators, strict=True):
            if generator is not None:
                row.random_(-(2**63), None, generator=generator)
        kept = (draws.view(torch.int16) >= self._threshold).to(self._dtype).mul_(self._gain)
        masks, start = {}, 0
        for name, size in sizes.items():
            mine = kept[:, start : start + size].index_select(0, self._kind)
            masks[name] = mine.unflatten(1, (batch, *self._shapes[name]))
            start += size
        return masks

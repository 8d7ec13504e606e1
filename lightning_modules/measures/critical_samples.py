"""Critical sample ratio: the fraction of examples near which LASS finds a point with a different prediction.

Arpit et al. 2017, "A Closer Look at Memorization in Deep Networks" (arXiv 1706.05394), section 5 and algorithm 1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from lightning_modules.measures.chunks import CHUNK_FLOATS
from lightning_modules.measures.logits import cross_entropy, most_likely
from lightning_modules.measures.on_demand import Snapshot, StackedNetworks, evaluating
from lightning_modules.measures.values import MeasuredValues
from lightning_modules.streams import torch_generator

if TYPE_CHECKING:
    from lightning_modules.data.datamodule import CohortData, Examples

ALPHA, BETA, STEPS = 0.25, 0.2, 100
"""The step along the gradient's sign and the scale of the noise, both on the 0-255 scale, and the steps per search."""

RADII = {"critical_sample_ratio": 0.3, "critical_sample_ratio_wide": 3.0}
"""Half the side of the box on the 0-255 scale, by column, in ascending order. The first is the paper's. The second is
ten times as large, for data on which the search in the first box almost never finds a point. MLPs of width 100 after 40
epochs with 0, 40 and 80 % label noise have ratios of 0.13, 0.22, 0.22 (wide: 0.74, 0.94, 0.97) on mnist1d, and of 0.00,
0.03, 0.05 (wide: 0.04, 0.28, 0.43) on digits."""

EXAMPLES = 500
"""The maximum number of searched examples. These are the first examples of the held-out part, or of the test set if no
part is held out."""

SLOTS = 128
"""The maximum number of examples per member that are searched at once."""


class CriticalSamples(Snapshot):
    """The fraction of critical examples, in 0..1, for each radius in `RADII`.

    An example x is critical if there is a point x̂ with ‖x − x̂‖_∞ ≤ r and argmax f(x̂) ≠ argmax f(x), the predicted
    label.

    LASS searches for x̂. It starts at x̃ = x and repeats x̃ ← x̃ + α sign(∇CE(f(x̃), argmax f(x))) + β η with η ~ N(0, 1),
    clipped to [x − r, x + r], until the prediction changes, at most 100 times. The network is in evaluation mode. LASS
    may miss a point, but every point that it finds is valid, so the ratio is a lower bound. A point found in the narrow
    box also lies in the wide box, so the wide box is then not searched.

    α = 0.25, β = 0.2 and r are on the scale of 8-bit images. For data of any kind, one unit is 1/255 of max − min of
    the clean training inputs: 1/(255 s) for images divided by their standard deviation s, as in the paper.
    """

    name: ClassVar[str] = "critical_sample_ratio"

    def __init__(self, module: StackedNetworks, data: CohortData) -> None:
        super().__init__(module, data)
        clean = data.dataset.train_inputs
        self.unit = (float(clean.max()) - float(clean.min())) / 255

    def read(self, epoch: int) -> list[MeasuredValues]:
        examples = self._data.test if self._data.validation is None else self._data.validation
        generators = {seed: torch_generator(seed, f"lass/{epoch}") for seed in {m.seed for m in self._data.members}}
        critical = self.search(examples, generators, tuple(RADII.values()))
        ratios = {name: found.double().mean(1).tolist() for name, found in zip(RADII, critical, strict=True)}
        members = range(len(self._data.members))
        return [MeasuredValues({name: column[k] for name, column in ratios.items()}) for k in members]

    def search(self, examples: Examples, generators: dict[int, torch.Generator], radii: tuple[float, ...]) -> Tensor:
        """Search the neighbourhoods of the first m ≤ EXAMPLES examples.

        Every member has SLOTS slots. When the search for an example has found a point or has used all its steps, the
        next example takes its slot. The assignment of examples to slots depends only on the member's own results, and
        every pass has the same shape, so a member's bits do not depend on the stack.

        Args:
            examples: The examples of all members.
            generators: The generators of the noise, by seed.
            radii: The radii in ascending order.

        Returns:
            bool [len(radii), K, m]: whether each example is critical within each radius.
        """
        with evaluating(self._module), torch.enable_grad():
            return _Search(self._module, examples, radii, self.unit).run(generators, self._data)


class _Search:
    """The state of a search with S slots for each of K members. Tensors are [K, S] unless noted otherwise."""

    def __init__(self, module: StackedNetworks, examples: Examples, radii: tuple[float, ...], unit: float) -> None:
        self._module = module
        self._count = min(EXAMPLES, examples.size)
        shape = examples.inputs.shape[1:]
        # Use at least two slots: for one example, torch may choose a matrix-vector kernel, depending on the stack.
        slots = max(2, min(SLOTS, CHUNK_FLOATS // math.prod(shape), self._count))
        self._all = examples.slice(0, self._count)
        members, device = len(examples.rows), self._all.device
        self._wide = (members, slots, *(1,) * len(shape))
        self._unit = unit
        self._radii = torch.tensor(radii, dtype=self._all.dtype, device=device) * unit
        self.critical = torch.zeros(len(radii), members, self._count + 1, dtype=torch.bool, device=device)
        """[len(radii), K, m + 1]. The last column belongs to empty slots."""
        self._example = torch.arange(slots, device=device).repeat(members, 1)
        self._next = torch.full((members, 1), slots, device=device)
        self._active = self._example < self._count
        self._steps = torch.zeros_like(self._example)
        self._stage = torch.zeros_like(self._example)
        """The index of the radius within which the example is searched."""
        self._own = torch.zeros_like(self._example)
        """The class predicted for the example itself."""
        self._at = self._inputs()

    def _inputs(self) -> Tensor:
        """Return the unmodified examples [K, S, *shape]. An empty slot contains the last example."""
        rows = self._example.clamp(max=self._count - 1)
        members = torch.arange(len(rows), device=rows.device)[:, None]
        return self._all[members, rows]

    def run(self, generators: dict[int, torch.Generator], data: CohortData) -> Tensor:
        seeds = list(generators)
        kind = torch.tensor([seeds.index(member.seed) for member in data.members], device=self._at.device)
        shape = self._at.shape[1:]
        while self._active.any():
            draws = [torch.randn(shape, generator=generators[seed]) for seed in seeds]
            noise = torch.stack(draws).to(self._at.device, self._at.dtype).index_select(0, kind)
            self._pass(noise)
        return self.critical[:, :, :-1]

    def _pass(self, noise: Tensor) -> None:
        """Run one forward and backward pass, record the critical examples found, move all points, and refill slots."""
        inputs = self._at.requires_grad_()
        logits = self._module(inputs)
        predicted = most_likely(logits.detach())
        self._own = torch.where(self._steps == 0, predicted, self._own)
        (gradient,) = torch.autograd.grad(cross_entropy(logits, self._own).sum(), inputs)

        found = self._active & (self._steps > 0) & (predicted != self._own)
        where = self._example.clamp(max=self._count)
        for stage, critical in enumerate(self.critical):
            hits = found & (self._stage <= stage)
            critical.scatter_(1, where, critical.gather(1, where) | hits)
        over = ~found & (self._steps == STEPS)

        original = self._inputs()
        radius = self._radii[self._stage].view(self._wide)
        moved = inputs.detach() + ALPHA * self._unit * gradient.sign() + BETA * self._unit * noise
        self._at = moved.clamp(original - radius, original + radius)
        self._steps = self._steps + 1
        self._advance(found, over)

    def _advance(self, found: Tensor, over: Tensor) -> None:
        """Continue unsuccessful searches with the next radius, and put the next example into each finished slot."""
        last = self._stage == len(self._radii) - 1
        leaves = self._active & (found | (over & last))
        turn = leaves.cumsum(1)
        self._example = torch.where(leaves, self._next + turn - 1, self._example)
        self._next = self._next + turn[:, -1:]
        self._active = self._example < self._count
        self._stage = torch.where(leaves, 0, self._stage + (over & ~last))
        begins = leaves | over
        self._steps = torch.where(begins, 0, self._steps)
        self._at = torch.where(begins.view(self._wide), self._inputs(), self._at)

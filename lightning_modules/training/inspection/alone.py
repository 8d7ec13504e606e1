"""What a network must do by itself: be built from its seed alone, and be a function of its tensors and its inputs."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from lightning_modules.data.dataset import Shape
from lightning_modules.errors import ModelError
from lightning_modules.models.reasons import in_short, reason
from lightning_modules.models.seeded import build_member
from lightning_modules.models.user_model import output_problem, refusal
from lightning_modules.settings import Settings
from lightning_modules.training.inspection import values
from lightning_modules.training.inspection.draws import Drawn, generators_restored, global_states, moved
from lightning_modules.training.stacked_layers import BatchedProducts

OTHER_SEEDS = (1, 2, 3)
"""Seeds of further networks. A plain value that is drawn from few possibilities may be the same for two of them."""
PER_MEMBER = "all members of a stack would use that of the first"


@contextmanager
def refused(settings: Settings, network: nn.Module) -> Iterator[None]:
    """Turn a torch error into a ModelError with the network's name."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        words = reason(error) or f"fails on the first examples of the data: {in_short(error)}"
        raise problem(settings, words, network) from error


def problem(settings: Settings, words: str, network: nn.Module) -> ModelError:
    return refusal(settings.model, network, words)


def check_builds(settings: Settings, shape: Shape, classes: int) -> nn.Module:
    """Check that networks depend on their seed alone, and that members differ in tensors alone. Return a network.

    Raises:
        ModelError: says which of these it does not do.
    """

    def build(seed: int) -> nn.Module:
        with generators_restored():
            return build_member(settings.model_copy(update={"seed": seed}), shape, classes)

    before = global_states()
    with generators_restored():
        first = build_member(settings.model_copy(update={"seed": 0}), shape, classes)
        source = moved(before)
    with generators_restored():
        np.random.random(7)  # where these generators stand is different in every process
        random.random()
        again = build_member(settings.model_copy(update={"seed": 0}), shape, classes)
    _check_tensors(settings, first)
    _check_equal(settings, first, again, source)
    own = values.plain_values(first)
    for other in map(build, OTHER_SEEDS):
        if _shapes(first) != _shapes(other):
            raise problem(settings, "draws its layers' sizes, so that members cannot be stacked; fix them", first)
        theirs = values.plain_values(other)
        where = values.differing(own, theirs)
        if where:
            words = f"keeps {values.kind_at(where, own, theirs)}, `{where}`, that is not the same for every seed"
            raise problem(settings, f"{words}, and {PER_MEMBER}; {_registered(where)}", first)
    try:
        copy.deepcopy(first)
    except Exception as error:
        words = reason(error) or f"cannot be copied ({in_short(error)}); keep such an object outside of the network"
        raise problem(settings, words, first) from error
    return first


def _registered(where: str) -> str:
    name = where.rpartition(".")[-1]
    call = f"self.register_buffer({name!r}, ...)" if name.isidentifier() else "self.register_buffer"
    return f"register it as a buffer, by {call}"


def _shapes(network: nn.Module) -> dict[str, Shape]:
    return {name: tuple(tensor.shape) for name, tensor in values.tensors(network).items()}


def _check_tensors(settings: Settings, network: nn.Module) -> None:
    """Check that the parameters can be trained, and that no tensor is kept beside them that ought to be one."""
    state = values.tensors(network)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise problem(settings, "has no parameter to train; at least one must require a gradient", network)
    storages = {tensor.untyped_storage()._cdata: name for name, tensor in state.items()}
    for where, tensor in values.plain_tensors(network):
        alias = storages.get(tensor.untyped_storage()._cdata)
        if alias:
            words = f"keeps its tensor `{alias}` in `{where}` too, which a stack does not see; use `self.{alias}` alone"
        elif isinstance(tensor, nn.Parameter):
            words = (
                f"keeps a parameter in `{where}`, where it is not trained; use nn.ModuleList, nn.ModuleDict, "
                "nn.ParameterList or an attribute of its own"
            )
        elif tensor.requires_grad:
            words = f"keeps a tensor computed from parameters, `{where}`; compute it in `forward`"
        else:
            continue
        raise problem(settings, words, network)


def _check_equal(settings: Settings, first: nn.Module, again: nn.Module, source: str | None) -> None:
    """Check that two networks of one seed are equal, and share nothing."""
    one, other = values.tensors(first), values.tensors(again)
    if _shapes(first) != _shapes(again):
        where: str | None = ""
    else:
        unequal = (name for name in one if values.digest(one[name]) != values.digest(other[name]))
        where = next(unequal, None) or values.differing(values.plain_values(first), values.plain_values(again))
    if where is not None:
        origin = f" (it draws from {source})" if source else ""
        named = f"in `{where}`" if where else "in their sizes"
        words = f"builds two networks of one seed that differ {named}{origin}; draw from torch's global generator alone"
        raise problem(settings, words, first)
    storages = {tensor.untyped_storage()._cdata for tensor in one.values() if tensor.numel()}
    for name, tensor in other.items():
        if tensor.numel() and tensor.untyped_storage()._cdata in storages:
            words = f"uses one tensor, `{name}`, for every network; make it while a network is built"
            raise problem(settings, words, first)


class Passes:
    """Forward passes of one network, each checked for what it changes and what it draws.

    Args:
        network: of the type of `inputs`.
        inputs: [n, *shape].
    """

    def __init__(self, settings: Settings, network: nn.Module, inputs: Tensor, classes: int) -> None:
        self._settings, self._network = settings, network
        self._inputs, self._classes = inputs, classes

    def check(self) -> None:
        """Check everything. Raises ModelError."""
        logits = self._run(self._inputs, training=False)
        again = self._run(self._inputs, training=False)
        self._must(_same(logits, again), self._other("evaluation"))
        buffers = {name: buffer.clone() for name, buffer in self._network.named_buffers()}
        trained = self._run(self._inputs, training=True)
        self._restore(buffers)
        repeated = self._run(self._inputs, training=True)
        self._restore(buffers)
        self._must(_same(trained, repeated), self._other("training"))
        self._must(
            bool(logits.isfinite().all() and trained.isfinite().all()),
            "returns logits that are not finite for the first examples of the data; check for a division by zero or a "
            "logarithm of zero",
        )
        before = self._python_values()
        turned = self._inputs.flip(0)
        self._must(
            _close(self._run(turned, training=False), logits.flip(0)),
            "gives an example other logits at another place of the batch; each row of the output must depend on its "
            "own row of the input alone (in training mode, nn.BatchNorm may use the others)",
        )
        part = len(logits) // 2
        self._must(
            _close(self._run(self._inputs[:part], training=False), logits[:part]),
            "gives an example other logits beside other examples in evaluation mode; keep statistics of training in "
            "buffers, as nn.BatchNorm does",
        )
        self._run(turned, training=True)
        self._restore(buffers)
        after = self._python_values()
        where = values.differing(before, after)
        self._must(
            where is None,
            f"changes `{where}` in its forward pass, but one pass of a stack serves all members, and recorded passes "
            "run without Python; keep state in a buffer that is changed in place, or leave it out",
        )

    def _other(self, mode: str) -> str:
        return (
            f"gives other logits when it is called again with the same inputs in {mode} mode; it has a random source "
            "or a state of its own; use nn.Dropout for randomness and buffers for state"
        )

    def _python_values(self) -> dict[str, values.Value]:
        module_name = self._settings.model.partition(":")[0]
        return {**values.plain_values(self._network), **values.outer_values(self._network, module_name)}

    def _must(self, holds: bool, words: str) -> None:
        if not holds:
            raise problem(self._settings, words, self._network)

    def _restore(self, buffers: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in buffers.items():
                self._network.get_buffer(name).copy_(value)

    def _run(self, inputs: Tensor, training: bool) -> Tensor:
        """Run the network on a copy of some inputs, and check what it changes and draws."""
        network, given = self._network.train(training), inputs.clone()
        tensors = {name: (tensor, values.digest(tensor)) for name, tensor in values.tensors(network).items()}
        parameters = {name for name, _ in network.named_parameters()}
        with generators_restored():
            torch.manual_seed(0)
            before = global_states()
            with refused(self._settings, network), torch.no_grad(), BatchedProducts(), Drawn() as drawn:
                out = network(given)
            source = moved(before)
        self._must(drawn.where is None, f"draws random numbers in its forward pass ({drawn.where}); {DROPOUT_ALONE}")
        self._must(source is None, f"draws from {source} in its forward pass; {DROPOUT_ALONE}")
        words = output_problem(out, len(inputs), tuple(inputs.shape[1:]), self._classes)
        self._must(words is None, words or "")
        self._must(torch.equal(given, inputs), "changes its input in place; work on a new tensor, as by x = x * 2")
        now = values.tensors(network)
        for name, (tensor, content) in tensors.items():
            self._must(
                now.get(name) is tensor,
                f"assigns a new tensor to `{name}` in its forward pass, which a stack forgets; change it in place, as "
                f"by self.{name}.copy_(...)",
            )
            kept = values.digest(tensor) == content
            self._must(
                kept or name not in parameters,
                f"changes its parameter `{name}` in its forward pass, which the optimizer alone may do; use a changed "
                f"copy, as by self.{name}.clamp(...)",
            )
            self._must(
                kept or training,
                f"changes its buffer `{name}` in evaluation mode, so that its numbers depend on how often it is "
                "evaluated; do that under `if self.training:`",
            )
        result: Tensor = out
        return result


DROPOUT_ALONE = (
    "use nn.Dropout (or nn.Dropout1d, 2d, 3d), whose masks memsweep draws from the seed of each member, or remove the "
    "draw"
)


def _same(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.nan_to_num(), b.nan_to_num())


def _close(a: Tensor, b: Tensor) -> bool:
    """Return whether logits agree up to rounding. A product may round a row by its place in the batch."""
    tolerance = 1e-9 if a.dtype == torch.float64 else 1e-4
    scale = float(b.abs().nan_to_num().max())
    return bool(torch.allclose(a, b, rtol=tolerance, atol=tolerance * max(scale, 1e-6), equal_nan=True))

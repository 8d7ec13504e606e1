"""A user's own family, named by import path: `package.module:function`.

The function (or class) returns an `nn.Module` that maps [batch, *shape] to [batch, classes]. It is called with the
keywords among `shape`, `classes`, `width` and `depth` that it accepts, except for an unset `width` or `depth`. The
network's size is measured on torch's meta device, so planning with such a family imports torch. What else a network
must do is checked where it is trained (`lightning_modules.training.inspection`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lightning_modules.errors import ModelError, did_you_mean, one_line
from lightning_modules.models.layers import Shape, Size, largest
from lightning_modules.models.reasons import in_short, reason
from lightning_modules.user_call import contained
from lightning_modules.user_code import load

if TYPE_CHECKING:
    from torch import nn

KEYWORDS = ("shape", "classes", "width", "depth")


@dataclass(frozen=True)
class ImportedFamily:
    """A user's function as a family. `parameters` holds the KEYWORDS that the function accepts, with its defaults."""

    name: str
    make: Callable[..., Any]
    parameters: Mapping[str, inspect.Parameter]

    @property
    def default_width(self) -> int | None:
        return self._default("width")

    @property
    def default_depth(self) -> int | None:
        return self._default("depth")

    @property
    def takes_width(self) -> bool:
        return "width" in self.parameters

    @property
    def takes_depth(self) -> bool:
        return "depth" in self.parameters

    def _default(self, keyword: str) -> int | None:
        value = self.parameters[keyword].default if keyword in self.parameters else None
        return value if isinstance(value, int) else None

    def size(self, shape: Shape, classes: int, width: int | None, depth: int | None) -> Size:
        """Measure the size of the module (cached). Raises ModelError if the function or its module fails."""
        return _measured(self, shape, classes, width, depth)

    def build(self, shape: Shape, classes: int, width: int | None, depth: int | None) -> nn.Module:
        from torch import nn

        given = {"shape": shape, "classes": classes, "width": width, "depth": depth}
        for keyword, parameter in self.parameters.items():
            if given[keyword] is None and parameter.default is inspect.Parameter.empty and _is_named(parameter):
                raise ModelError(keyword, f"not given, and {self.name} has no default for it")
        chosen = {key: value for key, value in given.items() if key in self.parameters and value is not None}
        try:
            with contained(self.name):
                module = self.make(**chosen)
        except Exception as error:
            words = ", ".join(f"{key}={value}" for key, value in chosen.items())
            raise ModelError("model", f"{self.name} failed{words and f' for {words}'}: {one_line(error)}") from error
        if not isinstance(module, nn.Module):
            raise ModelError("model", f"{self.name} returned {type(module).__name__}; it must return a torch nn.Module")
        for key, tensor in (*module.named_parameters(), *module.named_buffers()):
            if isinstance(tensor, nn.UninitializedParameter | nn.UninitializedBuffer):
                problem = f"{self.name} has the lazy tensor {key!r}, whose size only the first batch decides"
                raise ModelError("model", f"{problem}; give the size, as in nn.Linear(inputs, outputs)")
            if tensor.is_complex():
                problem = f"{self.name} has the complex tensor {key!r}, whose imaginary part would be lost"
                raise ModelError("model", f"{problem}; valid: a real tensor with an axis for the two parts")
        return module

    def sizes(self, width: int | None, depth: int | None) -> str:
        """Describe the size of a network, as in " with width=8, depth=2"; "" if it has neither."""
        chosen = {"width": width or self.default_width, "depth": depth or self.default_depth}
        given = ", ".join(f"{name}={value}" for name, value in chosen.items() if value is not None)
        return f" with {given}" if given else ""

    def __hash__(self) -> int:
        return hash(self.name)


def import_family(path: str) -> ImportedFamily:
    """Import a user's function. Raises ModelError("model", ...), which names the missing module or attribute."""
    module_name, _, attribute = path.partition(":")
    try:
        with contained(module_name):
            module = load(module_name)
    except Exception as error:
        problem = f"module {module_name!r} cannot be imported: {one_line(error)}"
        raise ModelError("model", f"given {path!r}; {problem}") from error
    make = getattr(module, attribute, None)
    if make is None:
        names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        hint = did_you_mean(attribute, names)
        raise ModelError("model", f"given {path!r}; module {module_name!r} has no {attribute!r}{hint}")
    if not callable(make):
        raise ModelError("model", f"given {path!r}; {attribute!r} is not a function but {type(make).__name__}")
    try:
        accepted = inspect.signature(make).parameters
    except ValueError as error:
        raise ModelError("model", f"given {path!r}; {one_line(error)}") from error
    var_keyword = next((p for p in accepted.values() if p.kind is inspect.Parameter.VAR_KEYWORD), None)
    parameters = {key: accepted.get(key, var_keyword) for key in KEYWORDS}
    return ImportedFamily(path, make, {key: value for key, value in parameters.items() if value is not None})


def _is_named(parameter: inspect.Parameter) -> bool:
    return parameter.kind is not inspect.Parameter.VAR_KEYWORD


@lru_cache(maxsize=4096)
def _measured(family: ImportedFamily, shape: Shape, classes: int, width: int | None, depth: int | None) -> Size:
    try:
        return _measured_on("meta", family, shape, classes, width, depth)
    except ModelError:
        # A network may read a number or call numpy while it is built, which takes tensors with values.
        return _measured_on("cpu", family, shape, classes, width, depth)


def _measured_on(
    device: str, family: ImportedFamily, shape: Shape, classes: int, width: int | None, depth: int | None
) -> Size:
    import torch
    from torch.nn import Conv1d, Conv2d, Conv3d
    from torch.utils.flop_counter import FlopCounterMode

    batch = 2  # BatchNorm cannot train on fewer examples
    kept: dict[int, int] = {}
    columns: list[int] = []

    def unfolded(layer: Conv1d | Conv2d | Conv3d, inputs: object, out: torch.Tensor) -> None:
        columns.append(out.numel() // len(layer.weight) * layer.weight[0].numel() * layer.groups)

    with torch.random.fork_rng(devices=[]), torch.device(device):
        module = family.build(shape, classes, width, depth).train()
        weights = {tensor.untyped_storage()._cdata for tensor in module.parameters()}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in weights:
                kept[storage._cdata] = storage.nbytes() // torch.get_default_dtype().itemsize
            return tensor

        for part in module.modules():
            if isinstance(part, Conv1d | Conv2d | Conv3d):
                part.register_forward_hook(unfolded)

        counter = FlopCounterMode(display=False)
        try:
            with contained(family.name), counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                out = module(torch.zeros(batch, *shape))
        except Exception as error:
            words = reason(error)
            if words is None:
                words = f"cannot use data of shape {shape}{family.sizes(width, depth)}: {in_short(error)}"
                if device == "cpu":
                    words += _largest_depth(family, shape, classes, width, depth)
            raise refusal(family.name, module, words) from error
    if problem := output_problem(out, batch, shape, classes):
        raise refusal(family.name, module, problem)
    parameters = sum(tensor.numel() for tensor in module.parameters() if tensor.requires_grad)
    return Size(
        (classes,),
        parameters,
        counter.get_total_flops() // batch,
        sum(kept.values()) // batch,
        columns=sum(columns) // batch,
        calls=sum(not [*part.children()] for part in module.modules()),
        needs_two=_needs_two(family.name, module, shape, classes, device),
    )


def _needs_two(name: str, module: nn.Module, shape: Shape, classes: int, device: str) -> bool:
    """Return whether a network that can be trained on two examples cannot be trained on one."""
    import torch

    try:
        with contained(name), torch.random.fork_rng(devices=[]), torch.device(device):
            return output_problem(module(torch.zeros(1, *shape)), 1, shape, classes) is not None
    except Exception:
        return True


def refusal(model: str, network: nn.Module, words: str) -> ModelError:
    """Return the error of a network, named by its model and, where it has another name, its class."""
    kind = type(network)
    named = kind.__module__.partition(".")[0] == "torch" or model.endswith(f":{kind.__name__}")
    return ModelError("model", f"{model}{'' if named else f' ({kind.__name__})'} {words}")


def output_problem(out: Any, batch: int, shape: Shape, classes: int) -> str | None:
    """Say what is wrong with the output for a batch of examples, in words that follow the network's name."""
    import torch

    if not isinstance(out, torch.Tensor):
        given = "nothing" if out is None else f"an output of type {type(out).__name__}"
        return f"returns {given}; `forward` must return one tensor of logits, [batch, {classes}]"
    if tuple(out.shape) != (batch, classes):
        return f"maps {batch} examples of shape {shape} to {tuple(out.shape)}; it must give ({batch}, {classes})"
    if not out.dtype.is_floating_point:
        return f"returns numbers of type {out.dtype}; it must return logits, which are real numbers"
    return None


def _largest_depth(family: ImportedFamily, shape: Shape, classes: int, width: int | None, depth: int | None) -> str:
    """Say which depth the data allow, if the depth is what they do not allow."""
    import torch

    def fits(depth: int) -> bool:
        try:
            family.build(shape, classes, width, depth).train()(torch.zeros(2, *shape))
        except Exception:
            return False
        return True

    most = largest(fits, (depth or family.default_depth or 1) - 1) if family.takes_depth else 0
    return f"; the largest depth for this shape is {most}" if most else ""

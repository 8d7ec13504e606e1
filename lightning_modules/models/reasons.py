"""Why a network cannot run in a stack: torch's errors, in the words of the network's author."""

from __future__ import annotations

import re

STACK = "torch cannot run it for all members of a stack at once"

_REASONS: tuple[tuple[str, str], ...] = (
    (
        r"aten::(gru|lstm)\.",
        "uses nn.{GRU}, and " + STACK + "; write it as a loop over nn.{GRU}Cell",
    ),
    (
        r"aten::(rnn)_",
        "uses nn.{RNN}, and " + STACK + "; write it as a loop over nn.{RNN}Cell",
    ),
    (
        r"boolean mask|dynamic shape|aten::nonzero|aten::masked_select",
        "selects elements by a condition, so the shape of the result depends on values; use torch.where, or multiply "
        "by the mask",
    ),
    (
        r"data-dependent control flow|Boolean value of Tensor|aten::is_nonzero|bool\(\) on meta",
        "decides by the values of a tensor in Python (if, while, max or min); use torch.where, torch.maximum or clamp",
    ),
    (
        r"\.item\(\)|aten::_local_scalar_dense",
        "reads a number out of a tensor (.item(), float(), if or max); compute with the tensor itself, as by "
        "torch.where or clamp",
    ),
    (
        r"Cannot access data pointer|Cannot copy out of meta tensor|numpy\(\) on|Can't call numpy",
        "leaves torch in its forward pass, as by .numpy() or .tolist(); use torch's own operations",
    ),
    (
        r"inplace arithmetic\(self|is not possible because there exists a Tensor",
        "writes into a tensor that it makes itself, such as torch.zeros(...); make it by x.new_zeros(...), or use "
        "torch.cat, torch.stack or torch.where",
    ),
    (
        r"must override the setup_context staticmethod",
        "uses a torch.autograd.Function whose `forward` takes `ctx`; give it `setup_context` and "
        "`generate_vmap_rule = True`",
    ),
    (
        r"tried to vmap over (\w+), but it does not have vmap support",
        "uses the torch.autograd.Function {0}, which has no rule for stacks; write `generate_vmap_rule = True` into it",
    ),
    (
        r"aten::\w+\.out; the fallback",
        "writes a result into a tensor (out=...), as torch's spectral_norm does, and " + STACK + "; use another "
        "normalisation, such as weight_norm",
    ),
    (
        r"(?:Batching rule not implemented for|we do not yet support) (aten::\w+)",
        "uses {0}, and " + STACK + "; use other operations of torch",
    ),
    (
        r"Only Tensors created explicitly by the user",
        "keeps a tensor that it computed from its parameters; compute it in `forward`",
    ),
    (
        r"(?:Identity|MaskedDropout)' object has no attribute '(\w+)'",
        "reads `.{0}` of a dropout layer, whose rate is the field `dropout` of each training; only call the layer",
    ),
)


def reason(error: BaseException) -> str | None:
    """Describe a known error as what the network does and what to do instead, in words that follow its name."""
    text = str(error)
    for pattern, words in _REASONS:
        if found := re.search(pattern, text):
            name = found[1] if found.groups() and found[1] else ""
            return words.replace("{0}", name).replace("{GRU}", name.upper()).replace("{RNN}", name.upper())
    return None


def in_short(error: BaseException) -> str:
    """Return the first line of an error's text, for errors that have no other words, and the type if it says little."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    text = lines[0].strip()[:300] if lines else ""
    return text if len(text.split()) > 2 else f"{type(error).__name__}: {text}".removesuffix(": ")

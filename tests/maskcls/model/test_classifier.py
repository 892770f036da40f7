"""All heads over all tasks; what the stored weights are called; backbones whose size, dropout or name is special."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from maskcls.config import TrainConfig, change
from maskcls.labels import Factor, LabelSpace
from maskcls.model.backbones import pixel_statistics
from maskcls.model.classifier import build_model, joint_log_prob
from maskcls.model.inference import log_probs, to_input
from maskcls.run.serialize import load_weights, weights_content
from maskcls.system.errors import UserError
from maskcls.tasks.mask import MASK_TASK
from tests.helpers.training import TINY, one_line

SPACE = MASK_TASK.space

EVERY_KIND = [
    *(change(TINY, heads=heads) for heads in ("joint", "three_heads", "three_models")),
    *(change(TINY, task=task) for task in SPACE.parts),
]


def factor(name: str, classes: int) -> Factor:
    return Factor(name, tuple(f"{name} {number}" for number in range(classes)))


TWO = LabelSpace((factor("flower", 5), factor("season", 2)))
FOUR = LabelSpace((factor("train", 2), factor("backbone", 3), factor("drop_rate", 2), factor("name_of_part", 2)))
"""Names that the modules of torch, or the models themselves, have for something else."""
TAKEN = LabelSpace(tuple(factor(name, 2) for name in ("weights", "forward", "training", "_modules", "factor_0")))
UNFIT = LabelSpace((factor("eye colour", 2), factor("a.b", 3), factor("3", 2), factor("성", 2)))
SPACES = {"two": TWO, "four": FOUR, "taken": TAKEN, "unfit": UNFIT}

every_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
both_kinds = pytest.mark.parametrize("heads", ["three_heads", "three_models"])


def name_of(config: TrainConfig) -> str:
    return f"{config.task}-{config.heads}"


def images(count: int = 5, size: tuple[int, int] = (32, 32)) -> Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(0))


def warmed_up(config: TrainConfig, weight_file: Path | None = None, space: LabelSpace | None = None) -> nn.Module:
    """A seeded model whose weights and running statistics are no longer those it was born with."""
    torch.manual_seed(3)
    model = build_model(config, space or MASK_TASK.predicted(config), weight_file)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.05 * torch.randn(value.shape))
        model.train()(images(8, config.image_size))
    return model.eval()


@pytest.mark.parametrize("config", EVERY_KIND, ids=name_of)
def test_probabilities_of_all_classes_sum_to_one(config: TrainConfig) -> None:
    log_prob_BK = joint_log_prob(warmed_up(config)(images()))
    assert log_prob_BK.shape == (5, MASK_TASK.predicted(config).num_classes)
    torch.testing.assert_close(log_prob_BK.exp().sum(1), torch.ones(5))
    assert log_prob_BK.std(0).min() > 0  # other images, other answers


def test_three_parts_are_multiplied_in_the_order_of_the_classes() -> None:
    generator = torch.Generator().manual_seed(1)
    of_part = {
        part: torch.randn(4, classes, generator=generator).log_softmax(1)
        for part, classes in zip(SPACE.parts, SPACE.sizes, strict=True)
    }
    log_prob_BK = joint_log_prob(of_part)
    for label in range(18):
        expected = sum(of_part[part][:, SPACE.part_of(label, part)] for part in SPACE.parts)
        torch.testing.assert_close(log_prob_BK[:, label], expected)


@every_space
def test_any_number_of_parts_is_multiplied_in_the_order_of_the_classes(space: LabelSpace) -> None:
    generator = torch.Generator().manual_seed(1)
    of_part = {
        part: torch.randn(4, size, generator=generator).log_softmax(1)
        for part, size in zip(space.parts, space.sizes, strict=True)
    }
    log_prob_BK = joint_log_prob(of_part)
    assert log_prob_BK.shape == (4, space.num_classes)
    for label in range(space.num_classes):
        expected = sum(of_part[part][:, space.part_of(label, part)] for part in space.parts)
        torch.testing.assert_close(log_prob_BK[:, label], expected)


@both_kinds
@every_space
def test_a_model_has_an_answer_for_every_factor_whatever_its_name(space: LabelSpace, heads: str) -> None:
    model = warmed_up(change(TINY, heads=heads), space=space)
    of_part = model(images())
    assert {part: log_prob_BK.shape[1] for part, log_prob_BK in of_part.items()} == dict(
        zip(space.parts, space.sizes, strict=True)
    )
    assert list(of_part) == list(space.parts)  # the order in which joint_log_prob multiplies them
    torch.testing.assert_close(joint_log_prob(of_part).exp().sum(1), torch.ones(5))
    model.eval()(images(2))
    model.train()(images(8))
    assert model.training


@both_kinds
@every_space
def test_stored_weights_of_any_factors_come_back_to_the_last_bit(space: LabelSpace, heads: str, tmp_path: Path) -> None:
    config = change(TINY, heads=heads)
    model, again = warmed_up(config, space=space), build_model(config, space, None)
    (tmp_path / "best.safetensors").write_bytes(weights_content(model.weights().state_dict()))
    load_weights(tmp_path / "best.safetensors", again.weights())
    batch = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8)
    assert (log_probs(again, [batch], config) == log_probs(model, [batch], config)).all()


@pytest.mark.parametrize(
    ("space", "names"),
    [
        (TWO, ["flower", "season"]),
        (FOUR, ["factor_0", "factor_1", "factor_2", "factor_3"]),
        (TAKEN, ["factor_0", "factor_1", "factor_2", "factor_3", "factor_4"]),
        (UNFIT, ["factor_0", "factor_1", "factor_2", "성"]),
    ],
)
def test_stored_weights_have_the_factors_names_or_their_numbers(space: LabelSpace, names: list[str]) -> None:
    for heads, first in (("three_heads", ["backbone"]), ("three_models", [])):
        stored = build_model(change(TINY, heads=heads), space, None).weights().state_dict()
        assert list(dict.fromkeys(name.partition(".")[0] for name in stored)) == [*first, *names]


def test_a_factor_trains_through_its_own_head() -> None:
    """The loss of one factor reaches the head of its name, and the weights of no other."""
    config = change(TINY, heads="three_models")
    model = build_model(config, FOUR, None)
    model(images())["backbone"].sum().backward()
    moved = {name.partition(".")[0] for name, value in model.named_parameters() if value.grad is not None}
    assert moved == {"factor_1"}


@pytest.mark.parametrize("config", [c for c in EVERY_KIND if c.heads == "joint"], ids=name_of)
def test_stored_weights_of_one_head_load_through_timm(config: TrainConfig, tmp_path: Path) -> None:
    model = warmed_up(config)
    (tmp_path / "best.safetensors").write_bytes(weights_content(model.weights().state_dict()))
    classes = MASK_TASK.predicted(config).num_classes
    path = str(tmp_path / "best.safetensors")
    theirs = timm.create_model(config.backbone, num_classes=classes, checkpoint_path=path).eval()
    with torch.inference_mode():
        assert torch.equal(theirs(images()), model.net(images()))


@pytest.mark.parametrize(
    ("heads", "prefixes"),
    [("three_heads", {"backbone", "mask", "gender", "age"}), ("three_models", {"mask", "gender", "age"})],
)
def test_stored_weights_of_three_parts_have_prefixes(heads: str, prefixes: set[str], tmp_path: Path) -> None:
    config = change(TINY, heads=heads)
    model = warmed_up(config)
    (tmp_path / "best.safetensors").write_bytes(weights_content(model.weights().state_dict()))
    stored = load_file(tmp_path / "best.safetensors")
    assert {name.partition(".")[0] for name in stored} == prefixes
    part, classes = ("backbone", 0) if heads == "three_heads" else ("age", 3)
    of_timm = timm.create_model(config.backbone, num_classes=classes)
    rest = {name.removeprefix(f"{part}."): value for name, value in stored.items() if name.startswith(f"{part}.")}
    of_timm.load_state_dict(rest)


@pytest.mark.parametrize("config", EVERY_KIND, ids=name_of)
def test_stored_weights_come_back_to_the_last_bit(config: TrainConfig, tmp_path: Path) -> None:
    model = warmed_up(config)
    (tmp_path / "best.safetensors").write_bytes(weights_content(model.weights().state_dict()))
    again = build_model(config, MASK_TASK.predicted(config), None)
    load_weights(tmp_path / "best.safetensors", again.weights())
    batch = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8)
    assert (log_probs(again, [batch], config) == log_probs(model, [batch], config)).all()


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    path.write_bytes(weights_content(build_model(TINY, SPACE, None).weights().state_dict()))
    with pytest.raises(UserError, match=r"best\.safetensors does not hold this model's weights"):
        load_weights(path, build_model(change(TINY, task="age"), SPACE.predicted("age"), None).weights())
    with pytest.raises(UserError, match=r"There is no .*absent"):
        load_weights(tmp_path / "absent.safetensors", build_model(TINY, SPACE, None).weights())
    path.write_bytes(b"no tensors")
    with pytest.raises(UserError, match="does not hold this model's weights"):
        load_weights(path, build_model(TINY, SPACE, None).weights())


def test_refusal_of_another_models_weights_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    path.write_bytes(weights_content(build_model(TINY, SPACE, None).weights().state_dict()))
    with pytest.raises(UserError) as caught:
        load_weights(path, build_model(change(TINY, task="age"), SPACE.predicted("age"), None).weights())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("heads", ["joint", "three_heads"])
@pytest.mark.parametrize(
    ("backbone", "size"),
    [("test_vit", (64, 96)), ("test_vit2", (32, 32)), ("test_convnext", (48, 64)), ("test_resnet", (33, 70)),
     ("test_nfnet", (64, 64)), ("test_byobnet", (64, 64)), ("test_maxvit", (64, 96))],
)  # fmt: skip
def test_backbones_of_all_kinds_take_other_image_sizes(backbone: str, size: tuple[int, int], heads: str) -> None:
    config = change(TINY, backbone=backbone, image_size=size, heads=heads)
    assert joint_log_prob(warmed_up(config)(images(2, size))).shape == (2, 18)


@pytest.mark.parametrize("heads", ["joint", "three_heads", "three_models"])
@pytest.mark.parametrize("backbone", ["test_vit", "test_maxvit"])
def test_size_that_a_backbone_cannot_take_is_refused(backbone: str, heads: str) -> None:
    with pytest.raises(UserError) as caught:
        build_model(change(TINY, backbone=backbone, image_size=(50, 70), heads=heads), SPACE, None)
    assert one_line(caught.value).startswith(f"timm cannot build {backbone} for 50 x 70 pixels, drop_rate=0.0: ")


def spread(log_prob_of_part: list[dict[str, Tensor]]) -> float:
    found = [joint_log_prob(log_prob).detach() for log_prob in log_prob_of_part]
    return float(torch.stack(found).std(0).mean())


@pytest.mark.parametrize("heads", ["joint", "three_heads", "three_models"])
@pytest.mark.parametrize("backbone", ["test_efficientnet_ln", "test_vit", "test_convnext", "test_resnet", "test_nfnet"])
def test_drop_rate_reaches_the_head_in_training_alone(backbone: str, heads: str) -> None:
    size = (64, 64)
    for drop_rate in (0.0, 0.5):
        model = warmed_up(change(TINY, backbone=backbone, heads=heads, drop_rate=drop_rate, image_size=size)).train()
        for module in model.modules():  # their outputs change in training for another reason
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        differ = spread([model(images(2, size)) for _ in range(4)])
        assert (differ > 1e-4) == (drop_rate > 0)
        assert spread([model.eval()(images(2, size)) for _ in range(2)]) == 0


def test_input_is_normalised_by_the_backbones_own_statistics() -> None:
    assert pixel_statistics("test_convnext") == ((0.5,) * 3, (0.5,) * 3)
    assert pixel_statistics("resnet50.a1_in1k")[0] == (0.485, 0.456, 0.406)
    config = change(TINY, backbone="efficientnet_b3", memory_format="channels_last")
    input_BCHW = to_input(torch.full((1, 3, 2, 2), 0.485), config)
    assert input_BCHW.is_contiguous(memory_format=torch.channels_last)
    assert input_BCHW[0, :, 0, 0].tolist() == pytest.approx(
        [0, (0.485 - 0.456) / 0.224, (0.485 - 0.406) / 0.225], abs=1e-6
    )


def test_mirror_images_are_averaged_as_probabilities() -> None:
    model = warmed_up(TINY)
    batch = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    once, mirrored = (torch.from_numpy(log_probs(model, [x], TINY)).exp() for x in (batch, batch.flip(3)))
    both = torch.from_numpy(log_probs(model, [batch], TINY, flip=True)).exp()
    assert not torch.allclose(once, mirrored, atol=1e-4)
    torch.testing.assert_close(both, (once + mirrored) / 2)


@pytest.mark.parametrize("backbone", ["mobilenetv3_small_050", "efficientnet_b0"])  # hardswish; silu
def test_activations_out_of_place_change_no_bit_and_spare_the_copies(backbone: str) -> None:
    torch.manual_seed(0)
    config = change(TINY, backbone=backbone)
    model = build_model(config, SPACE, None)
    timms = timm.create_model(backbone, num_classes=18)
    timms.load_state_dict(model.weights().state_dict())
    gradients, copies = [], []
    for net in (model.weights(), timms):
        torch.manual_seed(1)  # of drop path
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            net.train()(images(4)).square().sum().backward()
        copies.append(sum(event.count for event in profile.key_averages() if event.key == "aten::clone"))
        gradients.append([parameter.grad for parameter in net.parameters()])
    assert all((mine == theirs).all() for mine, theirs in zip(*gradients, strict=True))
    assert copies[0] < copies[1]

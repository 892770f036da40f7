"""The choice of how a GPU computes: what is tried, what is chosen, that it is remembered. Timed with fakes."""

import json
from pathlib import Path

import pytest
import torch

import maskcls.training.autotune
from maskcls.config import TrainConfig, change
from maskcls.system.lock import hold
from maskcls.training.autotune import MIN_SPEEDUP, Timing, choose_numerics, fastest, random_dataset
from maskcls.training.loop import Run
from maskcls.training.numerics import resolve
from tests.helpers.training import CPU

GPU = torch.device("cuda:0")
TINY = TrainConfig(backbone="test_efficientnet", image_size=(32, 32), batch_size=4, threads=1)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], float]:
    """(memory_format, cuda_graphs) -> photos per second, to be filled; a way that is tried is taken out."""
    speeds: dict[tuple[str, str], float] = {}
    monkeypatch.setattr(
        maskcls.training.autotune,
        "_time_in_child",
        lambda config, _, way: Timing(way, speeds.pop((config.memory_format, config.cuda_graphs))),
    )
    monkeypatch.setattr(maskcls.training.autotune, "_all_failed", {})
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "a fake")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    return speeds


def speeds_of(first: float, others: float) -> dict[tuple[str, str], float]:
    """The first way is this fast, the others are that fast."""
    found = {(memory, graphs): others for memory in ("channels_last", "contiguous") for graphs in ("off", "on")}
    return {**found, ("channels_last", "off"): first}


def test_a_cpu_tries_nothing(tmp_path: Path) -> None:
    assert choose_numerics(TINY, CPU, tmp_path) == TINY
    assert not list(tmp_path.iterdir())


def test_the_fastest_way_is_chosen_and_remembered(
    timed: dict[tuple[str, str], float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    timed |= {**speeds_of(100, 300), ("contiguous", "on"): 310}
    chosen = choose_numerics(TINY, GPU, tmp_path)
    assert (chosen.memory_format, chosen.cuda_graphs) == ("contiguous", "on")
    assert not timed  # each was tried, once
    assert "timing how test_efficientnet trains fastest" in capsys.readouterr().out
    with hold(tmp_path):  # somebody decodes photos meanwhile
        assert (
            choose_numerics(change(TINY, lr=1e-2, drop_rate=0.5, seed=3), GPU, tmp_path).memory_format == "contiguous"
        )
    assert capsys.readouterr().out == ""
    (rows,) = json.loads((tmp_path / "numerics" / "found.json").read_text()).values()
    way = {"memory_format": "channels_last", "cuda_graphs": "off"}
    assert rows[0] == {"way": way, "photos_per_second": 100, "error": ""}


@pytest.mark.parametrize(
    "other", [{"backbone": "test_vit"}, {"image_size": 48}, {"batch_size": 8}, {"heads": "three_heads"}]
)
def test_what_a_step_costs_otherwise_is_tried_anew(
    other: dict[str, object], timed: dict[tuple[str, str], float], tmp_path: Path
) -> None:
    timed |= speeds_of(200, 100)
    assert choose_numerics(TINY, GPU, tmp_path).cuda_graphs == "off"
    timed |= {**speeds_of(100, 100), ("channels_last", "on"): 150}
    assert choose_numerics(change(TINY, **other), GPU, tmp_path).cuda_graphs == "on"
    assert choose_numerics(TINY, GPU, tmp_path).cuda_graphs == "off"


def test_what_a_config_says_is_kept_and_the_rest_chosen(timed: dict[tuple[str, str], float], tmp_path: Path) -> None:
    timed |= {("contiguous", "off"): 100, ("contiguous", "on"): 200}
    chosen = choose_numerics(change(TINY, memory_format="contiguous"), GPU, tmp_path)
    assert (chosen.memory_format, chosen.cuda_graphs) == ("contiguous", "on")
    both = change(TINY, memory_format="contiguous", cuda_graphs="off")
    assert choose_numerics(both, GPU, tmp_path) == both


def test_a_step_in_parts_is_not_recorded(timed: dict[tuple[str, str], float], tmp_path: Path) -> None:
    timed |= {("channels_last", "auto"): 100, ("contiguous", "auto"): 200}
    chosen = choose_numerics(change(TINY, micro_batch=2), GPU, tmp_path)
    assert chosen.memory_format == "contiguous"
    assert resolve(change(chosen, cuda_graphs="on"), GPU).cuda_graphs == "off"
    assert resolve(change(chosen, cuda_graphs="on", micro_batch=0), GPU).cuda_graphs == "on"


def test_when_not_even_the_first_way_works_it_is_taken_and_nothing_is_remembered(
    timed: dict[tuple[str, str], float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed |= speeds_of(0, 0)
    for _ in range(2):  # tried once a process
        assert choose_numerics(TINY, GPU, tmp_path).memory_format == "channels_last"
    monkeypatch.setattr(maskcls.training.autotune, "_all_failed", {})
    timed |= speeds_of(100, 200)
    assert choose_numerics(TINY, GPU, tmp_path).cuda_graphs == "on"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', '{"a": [{"way": {}}]}'])
def test_a_damaged_file_is_nothing_lost(timed: dict[tuple[str, str], float], tmp_path: Path, text: str) -> None:
    (tmp_path / "numerics").mkdir()
    (tmp_path / "numerics" / "found.json").write_text(text)
    timed |= speeds_of(100, 200)
    assert choose_numerics(TINY, GPU, tmp_path).cuda_graphs == "on"
    assert choose_numerics(TINY, GPU, tmp_path).cuda_graphs == "on"


def test_only_a_clearly_faster_way_displaces_the_first() -> None:
    first = Timing({"cuda_graphs": "off"}, 100.0)
    for speed, chosen in ((100.0, "off"), (99 * MIN_SPEEDUP, "off"), (101 * MIN_SPEEDUP, "on")):
        assert fastest([first, Timing({"cuda_graphs": "on"}, speed)]) == {"cuda_graphs": chosen}


def test_the_child_takes_real_steps_and_a_broken_one_says_why() -> None:
    timing = maskcls.training.autotune._time_in_child(TINY, CPU, {})
    assert timing.photos_per_second > 1
    assert not timing.error
    odd = change(TINY, backbone="test_vit", image_size=33)
    timing = maskcls.training.autotune._time_in_child(odd, CPU, {})
    assert timing.photos_per_second == 0
    assert "timm cannot build test_vit" in timing.error


@pytest.mark.gpu
@pytest.mark.parametrize(
    "knobs",
    [{}, {"drop_rate": 0.5}, {"heads": "three_heads"}, {"heads": "three_models"}, {"dtype": "bfloat16"}],
    ids=lambda knobs: str(knobs),
)
def test_recorded_steps_leave_what_launched_ones_do(knobs: dict[str, object]) -> None:
    weights = {}
    for graphs in ("off", "on"):
        config = change(TINY, dtype="float32", image_size=64, batch_size=8, lr=1e-3)
        config = resolve(change(config, **{**knobs, "cuda_graphs": graphs}), GPU)
        run = Run(config, random_dataset(config), GPU, None)
        run.model.train()
        for step in range(4):
            run.step(step)
        weights[graphs] = {name: tensor.float().cpu() for name, tensor in run.model.state_dict().items()}
    for name, tensor in weights["off"].items():  # batch norm's statistics are among them
        torch.testing.assert_close(weights["on"][name], tensor, rtol=2e-2, atol=2e-3, msg=name)


@pytest.mark.gpu
def test_recorded_models_do_not_pile_up() -> None:
    config = resolve(change(TINY, image_size=96, batch_size=32, cuda_graphs="on"), GPU)
    data, held = random_dataset(config), []
    for _ in range(4):
        run = Run(config, data, GPU, None)
        held.append(torch.cuda.memory_reserved())
        del run
    assert max(held[1:]) <= held[0] + 2**25

"""The choice of how a GPU computes: what is tried, what is chosen, that it is remembered. Timed with fakes."""

import json
from pathlib import Path

import pytest
import torch
from conftest import CPU

import maskcls.probe
from maskcls.config import TrainConfig, change
from maskcls.probe import CLEARLY, choose, fastest, measure, ways

GPU = torch.device("cuda:0")
TINY = TrainConfig(backbone="test_efficientnet", image_size=(32, 32), batch_size=4, threads=1)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], float]:
    """(memory_format, cuda_graphs) -> photos per second, to be filled; a way that is tried is taken out."""
    speeds: dict[tuple[str, str], float] = {}
    monkeypatch.setattr(
        maskcls.probe, "_in_a_child", lambda config, _: speeds.pop((config.memory_format, config.cuda_graphs))
    )
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "a fake")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    return speeds


def test_a_cpu_tries_nothing(tmp_path: Path) -> None:
    assert choose(TINY, CPU, tmp_path) == TINY
    assert not list(tmp_path.iterdir())


def test_the_fastest_way_is_chosen_and_remembered(timed: dict[tuple[str, str], float], tmp_path: Path) -> None:
    timed |= {("channels_last", "off"): 100, ("channels_last", "on"): 150}
    timed |= {("contiguous", "off"): 300, ("contiguous", "on"): 310}
    chosen = choose(TINY, GPU, tmp_path)
    assert (chosen.memory_format, chosen.cuda_graphs) == ("contiguous", "on")
    assert not timed  # each was tried, once
    assert choose(change(TINY, lr=1e-2, drop_rate=0.5, seed=3), GPU, tmp_path).memory_format == "contiguous"
    assert len(json.loads((tmp_path / "numerics.json").read_text())) == 1


@pytest.mark.parametrize("other", [{"backbone": "test_vit"}, {"image_size": 48}, {"batch_size": 8}, {"micro_batch": 2}])
def test_what_a_step_costs_otherwise_is_tried_anew(
    other: dict[str, object], timed: dict[tuple[str, str], float], tmp_path: Path
) -> None:
    for config, best in ((TINY, "off"), (change(TINY, **other), "on")):
        timed |= {
            (memory, graphs): 100 + 50 * (graphs == best)
            for memory in ("channels_last", "contiguous")
            for graphs in ("on", "off")
        }
        assert choose(config, GPU, tmp_path).cuda_graphs == best


def test_what_a_config_says_is_kept_and_the_rest_chosen(timed: dict[tuple[str, str], float], tmp_path: Path) -> None:
    timed |= {("contiguous", "off"): 100, ("contiguous", "on"): 200}
    chosen = choose(change(TINY, memory_format="contiguous"), GPU, tmp_path)
    assert (chosen.memory_format, chosen.cuda_graphs) == ("contiguous", "on")
    both = change(TINY, memory_format="contiguous", cuda_graphs="off")
    assert choose(both, GPU, tmp_path) == both


def test_only_a_clearly_faster_way_displaces_the_first() -> None:
    found = [{"way": {"cuda_graphs": graphs}, "photos_per_second": 100.0} for graphs in ("off", "on")]
    assert fastest(found) == {"cuda_graphs": "off"}
    found[1]["photos_per_second"] = 99 * CLEARLY
    assert fastest(found) == {"cuda_graphs": "off"}
    found[1]["photos_per_second"] = 101 * CLEARLY
    assert fastest(found) == {"cuda_graphs": "on"}


def test_a_way_that_fails_is_not_chosen() -> None:
    found = [{"way": way, "photos_per_second": float(way["cuda_graphs"] == "off")} for way in ways(["cuda_graphs"])]
    assert fastest(found) == {"cuda_graphs": "off"}
    assert fastest([{**one, "photos_per_second": 0.0} for one in found]) == {"cuda_graphs": "off"}


def test_the_child_takes_real_steps_and_a_broken_one_counts_nothing() -> None:
    assert maskcls.probe._in_a_child(TINY, CPU) > 1
    assert maskcls.probe._in_a_child(change(TINY, backbone="test_vit", image_size=33), CPU) == 0.0


def test_the_way_is_measured_on_batches_of_the_configs_size(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    step = maskcls.probe.Run.step
    monkeypatch.setattr(
        maskcls.probe.Run, "step", lambda run, number: (sizes.append(run.order.batch_size), step(run, number))[1]
    )
    assert measure(TINY, CPU) > 1
    assert set(sizes) == {4}


@pytest.mark.gpu
def test_a_recorded_step_computes_what_a_launched_one_does() -> None:
    from maskcls.loop import Run
    from maskcls.numerics import resolve
    from maskcls.probe import noise

    losses = {}
    for graphs in ("off", "on"):
        config = resolve(change(TINY, dtype="float32", cuda_graphs=graphs, image_size=64, batch_size=8), GPU)
        run = Run(config, noise(config), GPU, None)
        run.model.train()
        losses[graphs] = [float(run.step(step)) for step in range(2)]
    assert losses["on"] == pytest.approx(losses["off"], rel=1e-3)

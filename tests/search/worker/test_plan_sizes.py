"""Sizes that are searched: what a backbone cannot take is found out by the plan, the rest is timed and trained."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from maskcls.data.dataset import Table
from maskcls.system.errors import UserError
from search.database.connect import open_storage
from search.policy.stopping import StoppingCriteria
from search.study.study import Choice, Domain, Int, Study
from search.supervisor.launch import Launch
from search.worker.estimate import check_sizes, show_estimate
from search.worker.make_job import set_up
from search.worker.messages import WorkOrder
from search.worker.plan import show_caches
from tests.helpers.search import make_setup
from tests.helpers.training import one_line


def asking(domain: Domain, backbone: str = "test_efficientnet") -> Study:
    fixed = {"backbone": backbone, "epochs": 1, "threads": 1, "memory_format": "contiguous"}
    return Study("Which size?", {"image_size": domain}, fixed, {"image_size": "32x32"}, synthetic=True)


def test_a_range_with_sizes_that_the_backbone_cannot_take_is_refused(tmp_path: Path, synthetic_table: Table) -> None:
    with pytest.raises(UserError) as caught:
        check_sizes(make_setup(tmp_path, synthetic_table, asking(Int(32, 64), "test_vit")))
    assert "test_vit for 33 x 33 pixels" in one_line(caught.value)
    assert "Make image_size a Choice" in str(caught.value)
    check_sizes(make_setup(tmp_path, synthetic_table, asking(Int(32, 64))))
    check_sizes(make_setup(tmp_path, synthetic_table, asking(Choice(32, 48), "test_vit")))


def test_every_size_of_a_choice_is_timed_on_photos_of_its_own(
    tmp_path: Path, synthetic_table: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    setup = make_setup(tmp_path, synthetic_table, asking(Choice(32, (32, 48)), "test_vit"))
    show_estimate(setup, setup.dataset(setup.baseline), 4, 1)
    assert "time      about" in capsys.readouterr().out
    assert {size for size, *_ in setup._datasets} == {(32, 32), (32, 48)}


def test_a_range_is_timed_at_the_baselines_size(tmp_path: Path, synthetic_table: Table) -> None:
    setup = make_setup(tmp_path, synthetic_table, asking(Int(32, 64)))
    show_estimate(setup, setup.dataset(setup.baseline), 4, 1)
    assert {size for size, *_ in setup._datasets} == {(32, 32)}


def test_sizes_and_networks_may_be_searched_together(tmp_path: Path, synthetic_table: Table) -> None:
    study = asking(Int(32, 48))
    both = replace(
        study,
        scientific={"heads": Choice("joint", "three_heads")},
        baseline={**study.baseline, "heads": "joint"},
    )
    setup = make_setup(tmp_path, synthetic_table, both)
    check_sizes(setup)
    show_estimate(setup, setup.dataset(setup.baseline), 4, 1)


def test_the_plan_says_what_the_photos_of_all_sizes_take_together(
    tmp_path: Path, synthetic_table: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = len(synthetic_table.photos)
    setup = make_setup(tmp_path, synthetic_table, asking(Choice(32, (32, 48), 64)))
    setup.cache = tmp_path / "local"
    show_caches(setup)
    together = photos * 3 * (32 * 32 + 32 * 48 + 64 * 64) / 2**20
    line = f"cache     {photos} photos in 3 ways, at 32 x 32 to 64 x 64: {together:.1f} MiB together in {setup.cache},"
    assert line in capsys.readouterr().out
    setup.dataset(setup.baseline)
    show_caches(setup)
    assert "1 of them decoded already" in capsys.readouterr().out
    assert {path.suffix for path in setup.cache.iterdir()} >= {".npy", ".json"}
    assert not (tmp_path / "cache").exists()


def test_of_a_range_the_plan_says_the_largest(
    tmp_path: Path, synthetic_table: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    show_caches(make_setup(tmp_path, synthetic_table, asking(Int(32, 64))))
    text = capsys.readouterr().out
    assert "in 2 ways, at 32 x 32 and 64 x 64" in text
    assert "one more for each image_size that a trial tries, at most as large" in text


def test_the_plan_refuses_sizes_that_the_disk_has_no_room_for_together(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = len(synthetic_table.photos)
    free = round(photos * 3 * (32 * 32 + 64 * 64) * 1.1) - 1
    monkeypatch.setattr("maskcls.data.cache.shutil.disk_usage", lambda path: SimpleNamespace(free=free))
    refused, allowed = (make_setup(tmp_path, synthetic_table, asking(Choice(32, size))) for size in (64, 48))
    refused.cache = allowed.cache = tmp_path / "cache"  # without what other tests have decoded
    with pytest.raises(UserError, match="Together the 2 caches"):
        show_caches(refused)
    show_caches(allowed)


def test_a_worker_keeps_the_photos_where_its_command_says(tmp_path: Path, synthetic_table: Table) -> None:
    launch = Launch(tmp_path, cache=tmp_path / "local")
    order = launch.make_order(1, "toy", make_setup(tmp_path, synthetic_table).stored, StoppingCriteria(1))
    open_storage(launch.url, create=True).engine.dispose()
    assert WorkOrder.from_line(order.to_line()).cache == str(tmp_path / "local")
    assert set_up(replace(order, device="cpu")).cache_dir == tmp_path / "local"
    assert set_up(replace(order, device="cpu", cache="")).cache_dir == tmp_path / "cache"

"""Sizes that are searched: what a backbone cannot take is found out by the plan, the rest is timed and trained."""

from dataclasses import replace
from pathlib import Path

import pytest

from maskcls.data.dataset import Table
from maskcls.system.errors import UserError
from search.study.study import Choice, Domain, Int, Study
from search.worker.plan import check_sizes, show_estimate
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

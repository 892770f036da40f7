"""The lines of the plan on photos that are not the mask task's, as a stranger reads them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maskcls.config import TrainConfig, change
from maskcls.data.dataset import Dataset, Table, find_task, load_dataset, read_table, with_judges
from maskcls.reading.source import SourceOptions
from search.terminal.photos import WIDTH, duplicate_lines, note_lines, photo_lines, wrapped
from search.worker.plan import _too_few, show_duplicates
from tests.helpers.data.photos import save_photos, save_table
from tests.helpers.search import make_setup

CONFIG = TrainConfig(backbone="test_efficientnet", image_size=32)


def of_groups(folder: Path, classes_by_group: dict[str, Sequence[str]], column: str) -> Table:
    """Photos of these classes, group by group."""
    rows = [(group, name) for group, names in classes_by_group.items() for name in names]
    paths = [f"{number}.png" for number in range(len(rows))]
    save_photos(folder, paths)
    table = [(path, name, group) for path, (group, name) in zip(paths, rows, strict=True)]
    save_table(folder / "meta.csv", [("image", "diagnosis", column), *table])
    task = find_task(folder, SourceOptions(labels=("diagnosis",), group=column))
    return read_table(folder, CONFIG, "auto", task)


def in_one(lines: Sequence[str]) -> str:
    assert all(len(line) <= WIDTH for line in lines)
    return " ".join(line.strip() for line in lines)


def test_a_few_uneven_sites_are_told_what_their_split_gives_and_that_nothing_will_be_decided(tmp_path: Path) -> None:
    classes = {"north": "ab" * 20, "south": "abbc" * 8, "east": "b" * 20}
    table = of_groups(tmp_path, classes, "site")
    text = in_one(photo_lines(table) + note_lines(table))
    assert "read from meta.csv: label diagnosis, path image, group site; judged by macro F1" in text
    assert "diagnosis: 3 classes (b: 56, a: 28, c: 8)" in text
    assert (
        "1 class is shown by a single site: c (south). To be learned and judged, a class needs sites on both sides. Add"
        " sites that show it, or leave the class out."
    ) in text
    assert "The sites differ too much to be split as asked: " in text
    assert " where 20 % was asked (1 site of 3). Add sites, or choose another valid_share." in text
    setup = make_setup(tmp_path / "runs", table)
    assert _too_few(setup) == "NO VERDICT: only 1 site judges a round, and a verdict needs 10. Add sites."


@pytest.mark.parametrize(("patients", "judges"), [(20, 3), (40, 6), (62, None)])
def test_the_round_with_the_fewest_judges_decides_whether_there_will_be_a_verdict(
    tmp_path: Path, patients: int, judges: int | None
) -> None:
    table = of_groups(tmp_path, {f"P{number}": "ab" for number in range(patients)}, "patient")
    said = _too_few(make_setup(tmp_path / "runs", table))
    if judges is None:
        assert said == ""
        return
    remedy = ", or begin a study where more of them judge: --set valid_share=0.4." if patients > 33 else "."
    assert said == f"NO VERDICT: only {judges} patients judge a round, and a verdict needs 10. Add patients{remedy}"


def test_a_round_with_fewer_judges_than_those_before_it_is_named(tmp_path: Path) -> None:
    table = of_groups(tmp_path, {f"P{number}": "ab" for number in range(61)}, "patient")
    setup = make_setup(tmp_path / "runs", table)
    judges = [with_judges(table, change(CONFIG, judge_round=number)).count("valid")[0] for number in range(6)]
    assert judges == [12, 10, 10, 10, 10, 9]
    assert _too_few(setup).startswith("NO VERDICT FROM ROUND 5 ON: only 9 patients judge it, and a verdict needs 10.")


def test_the_remedy_does_help(tmp_path: Path) -> None:
    table = of_groups(tmp_path, {f"P{number}": "ab" for number in range(40)}, "patient")
    setup = make_setup(tmp_path / "runs", table)
    fixed = {**setup.stored.study.fixed, "valid_share": 0.4}
    setup.stored = replace(setup.stored, study=replace(setup.stored.study, fixed=fixed))
    setup.table = read_table(tmp_path, change(CONFIG, valid_share=0.4), "auto", table.task)
    assert _too_few(setup) == ""


def test_copies_on_both_sides_are_told_with_examples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = of_groups(tmp_path, {f"P{number}": "ab" for number in range(40)}, "patient")
    of_valid, of_train = (
        table.photos.loc[table.photos["split"] == side, "path"].iloc[0] for side in ("valid", "train")
    )
    (tmp_path / of_valid).write_bytes((tmp_path / of_train).read_bytes())
    found = opened(table, tmp_path / "runs" / "cache")
    text = in_one(duplicate_lines(found))
    assert text == (
        "1 of 16 validation photos is almost the same picture as a training photo of another patient, for example"
        f" {of_valid} like {of_train}. Of copies the score counts what was learned by heart: remove them, or give them"
        " the same patient."
    )
    show_duplicates(found)
    first, *others = capsys.readouterr().out.splitlines()
    assert first.startswith("  copies    1 of 16 validation photos is almost")
    assert all(line.startswith(" " * 14) for line in others)


def test_where_there_are_none_nothing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = of_groups(tmp_path, {f"P{number}": "ab" for number in range(20)}, "patient")
    show_duplicates(opened(table, tmp_path / "runs" / "cache"))
    assert capsys.readouterr().out == ""


def test_the_plan_of_the_mask_task_has_no_new_line(synthetic_data: Dataset, synthetic_table: Table) -> None:
    valid = synthetic_data.valid
    same = replace(
        synthetic_data, valid=replace(valid, row_N=np.repeat(synthetic_data.train.row_N[:1], len(valid.row_N)))
    )
    assert duplicate_lines(same) == []
    assert photo_lines(synthetic_table) == []
    long = replace(synthetic_table, notes=("a note " * 40,))
    assert note_lines(long) == ["a note " * 40]


def test_names_that_a_terminal_would_act_upon_are_shown_as_text() -> None:
    assert wrapped("a class \x1b[31mred\x1b[0m") == [r"a class \u001b[31mred\u001b[0m"]


def opened(table: Table, cache: Path) -> Dataset:
    cache.mkdir(parents=True, exist_ok=True)
    return load_dataset(table, CONFIG, cache)

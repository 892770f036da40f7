"""Parquet tables, and folders of Hugging Face datasets as files: made here with pyarrow, as the package makes them."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maskcls.data.dataset import open_data as open_dataset
from maskcls.data.dataset import photo_folder, prepare_data_folder
from maskcls.reading.hf import open_data, unpack
from maskcls.reading.source import SourceOptions, find_source, find_task, read_photos
from maskcls.system.errors import UserError
from maskcls.tasks.task import Source, Unit
from tests.helpers.data.photos import save_photos
from tests.helpers.training import one_line

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
parquet = pytest.importorskip("pyarrow.parquet")

NAMES = ("cat", "ant", "bee")
FEATURES = {
    "image": {"_type": "Image"},
    "label": {"names": list(NAMES), "_type": "ClassLabel"},
    "patient": {"dtype": "string", "_type": "Value"},
    "boxes": {"feature": {"dtype": "int64", "_type": "Value"}, "_type": "List"},
}


def png(seed: int) -> bytes:
    pixels, data = np.random.default_rng(seed).integers(256, size=(8, 6, 3), dtype=np.uint8), io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def rows(count: int = 12, **columns: Sequence[Any]) -> Any:
    """A table as the package writes it: photos as bytes, class numbers, and what both mean in the metadata."""
    values = {
        "image": [{"bytes": png(number), "path": "../../../evil.png"} for number in range(count)],
        "label": [number % 3 for number in range(count)],
        "patient": [f"p{number // 2}" for number in range(count)],
        "boxes": [[1, 2]] * count,
        **columns,
    }
    table = pa.table(values)
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": FEATURES}})})


def save_to_disk(folder: Path, table: Any, shards: int = 1) -> Path:
    """As ``Dataset.save_to_disk`` does."""
    folder.mkdir(parents=True)
    size = -(-table.num_rows // shards)
    files = [f"data-{number:05}-of-{shards:05}.arrow" for number in range(shards)]
    for number, name in enumerate(files):
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table.slice(number * size, size))
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in files]}))
    return folder


def save_dict(folder: Path, **tables: Any) -> Path:
    """As ``DatasetDict.save_to_disk`` does."""
    for split, table in tables.items():
        save_to_disk(folder / split, table)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(tables)}))
    return folder


def refusal(folder: Path, cache: Path, image: str = "") -> str:
    with pytest.raises(UserError) as caught:
        unpack(folder, cache, image)
    assert not list(cache.glob("*")) or cache == folder
    assert not list(cache.glob(".*"))
    return one_line(caught.value)


def test_a_saved_dataset_becomes_files_and_a_table(tmp_path: Path) -> None:
    saved, heard = save_to_disk(tmp_path / "saved", rows(), shards=2), list[str]()
    folder, options = open_data(f"hf:{saved}", SourceOptions(group="patient"), tmp_path / "cache", heard.append)
    assert heard == [f"12 photos of {saved} written to {folder}."]
    assert folder.parent == tmp_path / "cache"
    task = find_task(folder, options)
    assert task.space.factors[0].classes == ("ant", "bee", "cat")
    assert task.unit == Unit("patient", "patients")
    photos = read_photos(folder, task, note=heard.append)
    assert photos["path"].tolist() == [f"photos/{number:08}.png" for number in range(12)]
    assert photos["label"].tolist() == [2, 0, 1] * 4
    assert photos["person"].tolist() == [f"p{number // 2}" for number in range(12)]
    assert [(folder / path).read_bytes() for path in photos["path"]] == [png(number) for number in range(12)]
    assert "split_given" not in photos
    assert len(heard) == 1


def test_it_is_written_once_for_a_state_of_its_files(tmp_path: Path) -> None:
    saved, cache = save_to_disk(tmp_path / "saved", rows()), tmp_path / "cache"
    folder, _ = unpack(saved, cache)
    (folder / "mark").touch()
    heard: list[str] = []
    assert unpack(saved, cache, note=heard.append) == (folder, "image")
    assert (folder / "mark").exists()
    assert heard == []
    (saved / "state.json").unlink()
    (saved / "data-00000-of-00001.arrow").unlink()
    saved.rmdir()
    save_to_disk(saved, rows(13))
    assert unpack(saved, cache)[0] != folder
    assert [path.name for path in cache.iterdir() if path.name.startswith(".")] == []


def test_cache_holds_the_photos_unless_an_earlier_version_has_written_them_to_runs(tmp_path: Path) -> None:
    saved, runs, local = save_to_disk(tmp_path / "saved", rows()), tmp_path / "runs", tmp_path / "local"
    data, options = f"hf:{saved}", SourceOptions()
    task = find_task(*open_dataset(data, runs, options, cache=local))
    (here,) = local.iterdir()
    assert not runs.exists()
    assert prepare_data_folder(data, runs, task, local) == photo_folder(data, runs, task, local) == here
    earlier = prepare_data_folder(data, runs, task)
    assert earlier == runs / "cache" / here.name
    assert prepare_data_folder(data, runs, task, local) == here
    other = tmp_path / "other"
    assert prepare_data_folder(data, runs, task, other) == photo_folder(data, runs, task, other) == earlier
    assert not other.exists()


def test_splits_are_given_ones(tmp_path: Path) -> None:
    saved = save_dict(tmp_path / "saved", train=rows(), validation=rows(6), test=rows(3, label=[-1, -1, -1]))
    folder, options = open_data(f"hf:{saved}", SourceOptions(), tmp_path / "cache")
    task, heard = find_task(folder, options), list[str]()
    photos = read_photos(folder, task, note=heard.append)
    assert (task.splitter, task.source.split) == ("given", "split")
    assert photos["split_given"].tolist() == ["train"] * 12 + ["valid"] * 6
    assert heard[0] == f"3 test photos of {folder}/table.csv left out, without a label."


@pytest.mark.parametrize(
    "names", [("train-00000-of-00001", "test-00000-of-00001"), ("train/0000", "test/0000"), ("train", "test")]
)
def test_parquet_files_of_the_hub_are_read_alike(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        path = tmp_path / "hub" / "data" / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(rows(), path)
    folder, options = open_data(f"hf:{tmp_path / 'hub'}", SourceOptions(), tmp_path / "cache")
    photos = read_photos(folder, find_task(folder, options))
    assert photos["split_given"].value_counts().to_dict() == {"train": 12, "test": 12}
    parquet.write_table(rows(), tmp_path / "hub" / "other.parquet")
    assert "holds Parquet files in 2 folders" in refusal(tmp_path / "hub", tmp_path / "cache2")


def test_who_may_not_read_the_dataset_may_not_read_its_photos(tmp_path: Path) -> None:
    saved = save_to_disk(tmp_path / "saved", rows())
    (saved / "data-00000-of-00001.arrow").chmod(0o600)
    folder, _ = unpack(saved, tmp_path / "cache")
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "photos" / "00000000.png").stat().st_mode & 0o777 == 0o600


def test_what_a_command_has_named_later_ones_find(tmp_path: Path) -> None:
    """The column of the pictures, the label and the group, typed once, are those of the stored task."""
    more = {"second": [{"bytes": png(number + 50), "path": ""} for number in range(12)], "split": ["train", "val"] * 6}
    saved = save_to_disk(tmp_path / "saved", rows(target=["no", "yes", "no"] * 4, **more))
    typed = SourceOptions(labels=("target",), group="patient", path="second", split="none")
    folder, options = open_data(f"hf:{saved}", typed, tmp_path / "cache")
    task = find_task(folder, options)
    assert task.source == Source("table", "table.csv", "second", ("target",), "patient")
    assert prepare_data_folder(f"hf:{saved}", tmp_path, task) == folder
    assert (folder / "photos" / "00000000.png").read_bytes() == png(50)
    assert photo_folder(f"hf:{saved}", tmp_path, task) == folder
    elsewhere = photo_folder(f"hf:{saved}", tmp_path / "elsewhere", task)
    assert elsewhere == tmp_path / "elsewhere" / "cache" / folder.name
    assert not elsewhere.exists()
    # maskcls.evaluate and maskcls.train --config
    folder_now, options_now = open_data(f"hf:{saved}", SourceOptions(), tmp_path / "cache", known=task.source.path)
    assert folder_now == folder
    assert open_data(f"hf:{saved}", SourceOptions(path="image"), tmp_path / "cache", known="second")[0] != folder
    assert find_source(folder, options_now, task.source) == task.source


def test_a_label_of_lists_is_refused_as_one_of_several(tmp_path: Path) -> None:
    saved = save_to_disk(tmp_path / "saved", rows(label=[[0, 1], [2]] * 6))
    folder, options = open_data(f"hf:{saved}", SourceOptions(), tmp_path / "cache")
    with pytest.raises(UserError, match="multi-label"):
        find_task(folder, options)


def test_folders_that_are_no_dataset_are_refused(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (empty := tmp_path / "empty").mkdir()
    assert "There is no dataset in" in refusal(empty, cache)
    assert "Leave out hf: if it holds folders of pictures" in refusal(empty, cache)
    assert "There is no folder" in refusal(tmp_path / "absent", cache)
    saved = save_to_disk(tmp_path / "a", rows().drop_columns(["image"]))
    assert "has no column of pictures (bytes and path). Its columns are label, patient, boxes." in refusal(saved, cache)
    saved = save_to_disk(tmp_path / "b", rows(second=[{"bytes": png(1), "path": ""}] * 12))
    assert "has 2 columns of pictures: image, second. Say which one with --path" in refusal(saved, cache)
    assert "has no column patient of pictures" in refusal(saved, cache, "patient")
    assert len(list((unpack(saved, tmp_path / "other", "second")[0] / "photos").iterdir())) == 12
    saved = save_to_disk(tmp_path / "c", rows(image=[{"bytes": None, "path": "/home/x.png"}] * 12))
    assert "holds only the path /home/x.png for a picture." in refusal(saved, cache)
    (saved / "data-00000-of-00001.arrow").write_bytes(b"not an Arrow file")
    assert "cannot be read:" in refusal(saved, cache)
    (saved / "data-00000-of-00001.arrow").unlink()
    assert "1 file of the dataset missing" in refusal(saved, cache)
    for text in ("{", "[]", "{}", '{"_data_files": 1}'):
        (saved / "state.json").write_text(text)
        assert "is not what save_to_disk writes" in refusal(saved, cache)


@pytest.mark.parametrize("name", ["../a/data-00000-of-00001.arrow", "/etc/passwd", "..", "", 3])
def test_no_name_in_a_dataset_leads_out_of_it(tmp_path: Path, name: object) -> None:
    save_to_disk(tmp_path / "a", rows())
    saved = save_to_disk(tmp_path / "b", rows())
    (saved / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    assert "must lie in it" in refusal(saved, tmp_path / "cache")
    (saved / "dataset_dict.json").write_text(json.dumps({"splits": [name]}))
    assert "must lie in it" in refusal(saved, tmp_path / "cache")


def test_a_table_may_be_parquet(tmp_path: Path) -> None:
    names = [f"{number:02}" for number in range(12)]
    save_photos(tmp_path, [f"{name}.jpg" for name in names])
    columns = {"id": names, "grade": [1.0, 2.0, 10.0] * 4, "patient": [number // 2 for number in range(12)]}
    parquet.write_table(pa.table(columns), tmp_path / "meta.parquet")
    task = find_task(tmp_path, SourceOptions(group="patient"))
    assert task.space.names == ("1", "2", "10")
    photos = read_photos(tmp_path, task)
    assert photos["person"].tolist() == [str(number // 2) for number in range(12)]
    assert photos["label"].tolist() == [0, 1, 2] * 4


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (
            {"label": [["a"], ["b"]] * 6},
            "label of {table} holds lists: photos with several labels (multi-label) are not",
        ),
        (
            {"id": [{"bytes": b"1", "path": "x"}] * 12},
            "id of {table} holds the pictures themselves; give their folder as",
        ),
    ],
)
def test_what_a_table_cannot_hold_is_refused(tmp_path: Path, columns: dict[str, Any], says: str) -> None:
    names = [f"{number:02}" for number in range(12)]
    save_photos(tmp_path, [f"{name}.jpg" for name in names])
    table = {"id": names, "label": list(NAMES) * 4, **columns}
    parquet.write_table(pa.table(table), tmp_path / "meta.parquet")
    with pytest.raises(UserError) as caught:
        find_task(tmp_path, SourceOptions())
    assert says.format(table=tmp_path / "meta.parquet") in one_line(caught.value)


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    save_photos(tmp_path, ["1.jpg"])
    (tmp_path / "meta.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"meta\.parquet cannot be read as Parquet"):
        find_task(tmp_path, SourceOptions())

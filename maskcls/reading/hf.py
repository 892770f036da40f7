"""A folder of a Hugging Face dataset (``--data hf:DIR``), written once as photos and a table: all else sees files.

What ``save_to_disk`` writes (Arrow files with state.json, for several splits under dataset_dict.json), or Parquet files
as on the hub. Both are read by pyarrow; what columns mean stands in the schema's metadata, under "huggingface".
Source: the files that datasets 5.2.0 writes, and https://huggingface.co/docs/datasets/about_arrow.
"""

import csv
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from maskcls.reading.found import SPLITS, shown
from maskcls.reading.source import SourceOptions
from maskcls.reading.table_file import import_arrow, texts_of
from maskcls.system.errors import UserError, count_of, one_line, some
from maskcls.system.large_files import photo_mode

PREFIX = "hf:"
PHOTOS, TABLE = "photos", "table.csv"
SPLIT = "split"
"""The table's column of splits, where there are several. That of paths is called like the column of pictures."""

VERSION = 2
"""Of what is written, a part of the folder's name."""

BATCH = 64
"""Rows in memory at once, with their photos."""

ENDING_OF = {
    **{b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"GIF8": ".gif", b"RIFF": ".webp"},
    **{b"BM": ".bmp", b"II*\0": ".tif", b"MM\0*": ".tif"},
}
"""First bytes of a photo -> the ending of its file."""


class Shard(NamedTuple):
    """One file of a dataset."""

    path: Path
    split: str


class _Pictures(NamedTuple):
    """The pictures of a dataset, and where they are written."""

    schema: Any
    column: str
    target: Path


def open_data(
    data: str,
    options: SourceOptions,
    cache: Path,
    note: Callable[[str], None] = lambda _: None,
    known: str = "",
    earlier: Path | None = None,
) -> tuple[Path, SourceOptions]:
    """The folder that ``--data`` means, and the options to read it with.

    ``hf:DIR`` is written into a folder below ``cache``, once for each state of DIR's files; --path names the column of
    the pictures, where there are several; else it is ``known``, that of an earlier command, if it is one of them. Any
    other value is a folder's path. ``earlier``: where it may have been written by a command with another cache. Raises
    UserError as ``unpack``.
    """
    if not data.startswith(PREFIX):
        return Path(data), options
    folder, column = unpack(Path(data.removeprefix(PREFIX)), cache, options.path, note, known, earlier)
    return folder, replace(options, table=TABLE, path=column)


def place_of(data: str, cache: Path, known: str, earlier: Path | None = None) -> Path:
    """The folder that ``open_data`` gives, which may not have been written yet. Raises UserError as ``unpack``."""
    if not data.startswith(PREFIX):
        return Path(data)
    folder = Path(data.removeprefix(PREFIX))
    return _pictures(folder, _shards(folder), cache, "", known, earlier).target


def unpack(
    folder: Path,
    cache: Path,
    image_column: str = "",
    note: Callable[[str], None] = lambda _: None,
    known: str = "",
    earlier: Path | None = None,
) -> tuple[Path, str]:
    """(a folder with the dataset's photos as files and a table of its other columns, below ``cache``, or below
    ``earlier`` if it is there already; the column of the pictures, which is that of their paths in the table).

    The folder appears whole or not at all, and is found again as long as the dataset's files stay the same.
    Raises UserError for a folder that holds no dataset with pictures, and where pyarrow is missing.
    """
    shards = _shards(folder)
    schema, image, target = _pictures(folder, shards, cache, image_column, known, earlier)
    arrow, names = import_arrow(shards[0].path), _names(folder, shards)
    if (target / TABLE).is_file():
        return target, image.strip()
    part = cache / f".{uuid4().hex}.part"
    try:
        # who may not read the dataset may not read what is written of it either
        mode = photo_mode(folder, names)
        part.mkdir(parents=True, mode=mode | (mode & 0o444) >> 2)
        count = _write(arrow, shards, schema, image, part, mode)
        part.rename(target)
        note(f"{count_of(count, 'photo')} of {folder} written to {target}.")
    except OSError as error:
        if not (target / TABLE).is_file():  # else another process was first
            raise UserError(
                f"The photos of {folder} cannot be written to {cache}: {one_line(error)}. Free some space there."
            ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target, image.strip()


def _names(folder: Path, shards: list[Shard]) -> list[str]:
    return [shard.path.relative_to(folder).as_posix() for shard in shards]


def _pictures(
    folder: Path, shards: list[Shard], cache: Path, image_column: str, known: str, earlier: Path | None
) -> _Pictures:
    schema = _schema(import_arrow(shards[0].path), shards[0].path)
    image = _image_column(schema, image_column, known, shards[0].path)
    stats = [shard.path.stat() for shard in shards]
    facts = [
        (name, stat.st_size, stat.st_mtime_ns, shard.split)
        for name, stat, shard in zip(_names(folder, shards), stats, shards, strict=True)
    ]
    key = hashlib.sha256(json.dumps([VERSION, image, facts]).encode()).hexdigest()[:12]
    places = [place / f"hf-{key}" for place in (cache, earlier) if place is not None]
    return _Pictures(schema, image, next((place for place in places if (place / TABLE).is_file()), places[0]))


def _shards(folder: Path) -> list[Shard]:
    """The dataset's files with their splits, in order. Raises UserError where there are none."""
    if not folder.is_dir():
        raise UserError(
            f"There is no folder {folder}; hf: takes one that save_to_disk has written, or of Parquet files."
        )
    if (folder / "dataset_dict.json").is_file():
        names = _json(folder / "dataset_dict.json", "splits")
        shards = [shard for name in names for shard in _saved(folder / _plain(folder, name), name)]
    elif (folder / "state.json").is_file():
        shards = _saved(folder, "")
    else:
        shards = _parquet_files(folder)
    if not shards:
        raise UserError(
            f"There is no dataset in {folder}: no dataset_dict.json or state.json of save_to_disk, and no Parquet file."
            " Leave out hf: if it holds folders of pictures, or a table beside them."
        )
    missing = [shard.path for shard in shards if not shard.path.is_file()]
    if missing:
        raise UserError(f"{count_of(len(missing), 'file')} of the dataset missing: {some(missing, 3)}. Restore them.")
    return shards if len({shard.split for shard in shards}) > 1 else [shard._replace(split="") for shard in shards]


def _saved(folder: Path, split: str) -> list[Shard]:
    files = [item["filename"] for item in _json(folder / "state.json", "_data_files")]
    return [Shard(folder / _plain(folder, name), split) for name in files]


def _json(path: Path, key: str) -> list[Any]:
    try:
        return list(json.loads(path.read_text(encoding="utf-8"))[key])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not what save_to_disk writes: {one_line(error)}. Save the dataset again.") from None


def _plain(folder: Path, name: Any) -> str:
    """The name of a file or folder in this one. Raises UserError for a path."""
    if not isinstance(name, str) or name in ("", ".", "..") or re.search(r"[/\\\0]", name):
        raise UserError(f"A file of {folder} must lie in it; {shown(str(name))} does not. Save the dataset again.")
    return name


def _parquet_files(folder: Path) -> list[Shard]:
    paths = sorted(path for path in folder.rglob("*.parquet") if path.is_file() and not path.name.startswith("."))
    shards = [Shard(path, _split_of(path)) for path in paths]
    homes = sorted({path.parent.parent if path.parent.name in SPLITS else path.parent for path in paths})
    if len(homes) > 1:
        raise UserError(f"{folder} holds Parquet files in {len(homes)} folders: {some(homes, 3)}. Give one of them.")
    return shards


def _split_of(path: Path) -> str:
    """By the hub's names: train-00000-of-00002.parquet, train/0000.parquet, train.parquet."""
    match = re.fullmatch(r"(.+?)-\d+-of-\d+.*", path.stem)
    names = [match[1] if match else "", path.parent.name, path.stem]
    return next((name for name in names if name.lower() in SPLITS), match[1] if match else "")


def _write(arrow: Any, shards: list[Shard], schema: Any, image: str, part: Path, mode: int) -> int:
    """Write the photos and the table into the folder; returns how many photos."""
    columns = [field.name for field in schema if _is_text(arrow, field.type) and field.name not in ("", SPLIT)]
    own_split = SPLIT in schema.names and not shards[0].split
    names_of_class = _class_names(schema)
    (part / PHOTOS).mkdir(mode=part.stat().st_mode & 0o777)
    count = 0
    with (part / TABLE).open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow([image, *columns, *([SPLIT] if own_split or shards[0].split else [])])
        for shard in shards:
            for batch in _batches(arrow, shard.path):
                _check_columns(batch, [image, *columns], shard.path)
                cells = {name: _texts(batch.column(name).to_pylist(), names_of_class.get(name)) for name in columns}
                sides = batch.column(SPLIT).to_pylist() if own_split else [shard.split] * batch.num_rows
                for row, picture in enumerate(batch.column(image).to_pylist()):
                    # numbers for names: those in the data may be paths, or one name twice
                    name = _write_photo(part / PHOTOS / f"{count:08}", picture, shard.path, mode)
                    table.writerow(
                        [f"{PHOTOS}/{name}", *(cells[column][row] for column in columns), *filter(None, [sides[row]])]
                    )
                    count += 1
    (part / TABLE).chmod(mode)
    return count


def _schema(arrow: Any, path: Path) -> Any:
    try:
        if path.suffix == ".parquet":
            return arrow.parquet.read_schema(path)
        with arrow.memory_map(str(path)) as file, arrow.ipc.open_stream(file) as stream:
            return stream.schema
    except arrow.ArrowException as error:
        raise UserError(f"{path} cannot be read: {one_line(error)}. Save the dataset again.") from None


def _batches(arrow: Any, path: Path) -> Iterator[Any]:
    try:
        if path.suffix == ".parquet":
            with arrow.parquet.ParquetFile(path) as file:
                yield from file.iter_batches(batch_size=BATCH)
            return
        with arrow.memory_map(str(path)) as file, arrow.ipc.open_stream(file) as stream:
            for batch in stream:
                for start in range(0, batch.num_rows, BATCH):
                    yield batch.slice(start, BATCH)
    except arrow.ArrowException as error:
        raise UserError(f"{path} cannot be read: {one_line(error)}. Save the dataset again.") from None


def _features(schema: Any) -> dict[str, Any]:
    """Column -> what it is, as the package datasets writes it; empty without such metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return {name: kind for name, kind in features.items() if isinstance(kind, dict)} if features else {}


def _image_column(schema: Any, typed: str, known: str, path: Path) -> str:
    features = _features(schema)
    found = [
        field.name
        for field in schema
        if features.get(field.name, {}).get("_type") == "Image"
        or (field.name not in features and {"bytes", "path"} <= {child.name for child in _children(field.type)})
    ]
    if typed:
        found = [name for name in found if name.strip() == typed.strip()]
    found = [name for name in found if name.strip() == known] or found
    if not found:
        what = f"no column {shown(typed)} of pictures" if typed else "no column of pictures (bytes and path)"
        raise UserError(f"{path} has {what}. Its columns are {some(map(shown, schema.names), 10)}.")
    if len(found) > 1:
        raise UserError(
            f"{path} has {len(found)} columns of pictures: {some(map(shown, found))}. Say which one with --path, for"
            f" example --path {found[0]}."
        )
    return str(found[0])


def _children(kind: Any) -> list[Any]:
    return [kind.field(index) for index in range(kind.num_fields)]


def _class_names(schema: Any) -> dict[str, list[str]]:
    """Column of class numbers -> their names."""
    return {
        name: [str(word) for word in kind["names"]]
        for name, kind in _features(schema).items()
        if kind.get("_type") == "ClassLabel" and isinstance(kind.get("names"), list)
    }


def _is_text(arrow: Any, kind: Any) -> bool:
    """Whether a column goes into the table: no bytes, no structure but lists of class numbers, which are refused."""
    types = arrow.types
    if types.is_list(kind) or types.is_large_list(kind):
        return bool(types.is_integer(kind.value_type) or types.is_string(kind.value_type))
    return not (types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind))


def _texts(values: list[Any], names: list[str] | None) -> list[str]:
    """Cells as text; a class by its name, and none for -1, which stands for an unknown one."""
    if names is not None:
        values = [_name(value, names) if isinstance(value, int) else value for value in values]
    return [text.replace("\0", "") for text in texts_of(values)]


def _name(number: int, names: list[str]) -> str | None:
    return names[number] if 0 <= number < len(names) else None


def _check_columns(batch: Any, columns: list[str], path: Path) -> None:
    missing = [name for name in columns if name not in batch.schema.names]
    if missing:
        raise UserError(
            f"{path} lacks the column {some(map(shown, missing))} of the dataset's first file. Save the dataset again."
        )


def _write_photo(path: Path, picture: Any, shard: Path, mode: int) -> str:
    """Write the photo's bytes into the file of this path and the ending that fits; returns its name."""
    data = picture.get("bytes") if isinstance(picture, dict) else None
    if not data:
        name = picture.get("path") if isinstance(picture, dict) else None
        what = f"only the path {shown(str(name))}" if name else "nothing"
        raise UserError(
            f"{shard} holds {what} for a picture. Save the dataset with the pictures in it, or give the folder of the"
            " files to --data."
        )
    # a decoder goes by the bytes, and names a format that it does not read
    ending = next((ending for start, ending in ENDING_OF.items() if data.startswith(start)), ".jpg")
    file = path.with_name(path.name + ending)
    file.write_bytes(data)
    file.chmod(mode)
    return file.name

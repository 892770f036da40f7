"""Where a backbone's first weights come from: timm's hub, a folder, or nowhere; always resolved before training."""

import hashlib
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
from safetensors import SafetensorError, safe_open

from maskcls.errors import UserError, nearest, one_line, some
from maskcls.model import pretrained_cfg

MATCHING_SHARE = 0.9
"""Of a backbone's tensors that a file must hold by name and shape; a resampled position embedding may differ."""

HUB_SECONDS = 5.0
"""How long the hub may take to answer at all before it counts as out of reach."""


@dataclass(frozen=True)
class Weights:
    """Files of pretrained weights for a set of backbones; all of one source."""

    source: str
    """"pretrained" (timm's hub), "scratch", or "folder"."""
    files: dict[str, Path]
    """Backbone -> safetensors file; empty from scratch."""
    note: str = ""
    """Why it is from scratch when that was not asked for."""

    def file(self, backbone: str) -> Path | None:
        """The backbone's file, None from scratch."""
        return self.files.get(backbone)

    def describe(self) -> dict[str, str]:
        """For the record: the source, and the first digits of each file's SHA-256."""
        digests = {name: sha256(path)[:12] for name, path in sorted(self.files.items())}
        return {"source": self.source, **digests}


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def resolve_weights(source: str, backbones: Sequence[str]) -> Weights:
    """Weights for every backbone, all from one source.

    ``source``: "auto" (timm's hub; from scratch, with a note, when any of them cannot be had), "pretrained" (the
    same, or UserError), "scratch", or a folder of ``<backbone>.safetensors``.
    """
    check_backbones(backbones)
    if source == "scratch":
        return Weights("scratch", {})
    if source not in ("auto", "pretrained"):
        return _from_folder(Path(source), backbones)
    try:
        return Weights("pretrained", {name: _from_hub(name) for name in backbones})
    except _NotToBeHadError as error:
        if source == "pretrained":
            raise UserError(
                f"Pretrained weights must be had and cannot: {error}."
                " Give a folder of <backbone>.safetensors, or --weights scratch."
            ) from None
        return Weights("scratch", {}, note=str(error))


def check_backbones(backbones: Sequence[str]) -> None:
    """Raise UserError for a name that timm does not know."""
    for name in backbones:
        if not timm.is_model(name):
            raise UserError(f"timm has no backbone named {name!r}.{nearest(name, timm.list_models())}")


def _from_folder(folder: Path, backbones: Sequence[str]) -> Weights:
    if not folder.is_dir():
        raise UserError(f"--weights takes auto, pretrained, scratch or a folder; there is no folder {folder}.")
    files = {name: folder / f"{name}.safetensors" for name in backbones}
    missing = [path.name for path in files.values() if not path.is_file()]
    if missing:
        raise UserError(f"The weights folder {folder} lacks {some(missing)}; it must hold a file for every backbone.")
    for name, path in files.items():
        _check_fits(name, path)
    return Weights("folder", files)


def _check_fits(backbone: str, path: Path) -> None:
    """Raise UserError unless the file holds this backbone: timm leaves what it does not find there at random."""
    state = timm.create_model(backbone, num_classes=0).state_dict()
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118, it is no dict
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is no safetensors file: {one_line(error)}.") from None
    found = sum(list(tensor.shape) == shapes.get(name) for name, tensor in state.items())
    if found < MATCHING_SHARE * len(state):
        raise UserError(
            f"{path} holds another model: of the {len(state)} tensors of timm's {backbone} it has {found}"
            " by name and shape. Save it under timm's own names."
        )


class _NotToBeHadError(Exception):
    """The hub does not answer, or does not have it. Its text is the reason."""


def _from_hub(backbone: str) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

    repository, _, revision = (pretrained_cfg(backbone).hf_hub_id or "").partition("@")
    if not repository:
        raise _NotToBeHadError(f"timm's hub has no pretrained {backbone}")
    which: dict[str, Any] = {"repo_id": repository, "filename": "model.safetensors", "revision": revision or None}
    here = try_to_load_from_cache(**which)
    if isinstance(here, str):
        return Path(here)
    try:
        _within(HUB_SECONDS, lambda: get_hf_file_metadata(hf_hub_url(**which)))
        return Path(hf_hub_download(**which))
    except Exception as error:  # the hub's client lets through whatever its transport raises
        reason = "no answer" if isinstance(error, TimeoutError) else type(error).__name__
        raise _NotToBeHadError(f"timm's hub cannot be reached for {backbone} ({reason})") from error


def _within(seconds: float, call: Callable[[], object]) -> None:
    """Raise TimeoutError when ``call`` takes longer; the client's own time limits do not cover name lookup.

    In a daemon thread: one that never comes back must not keep the process from ending.
    """
    outcome: queue.Queue[Exception | None] = queue.Queue()

    def attempt() -> None:
        try:
            call()
            outcome.put(None)
        except Exception as error:
            outcome.put(error)

    threading.Thread(target=attempt, daemon=True).start()
    try:
        error = outcome.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if error is not None:
        raise error

"""Where a backbone's first weights come from: timm's hub, a folder, or nowhere; always resolved before training."""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
from safetensors import SafetensorError, safe_open

from maskcls.model.backbones import check_backbones, pretrained_cfg
from maskcls.run.record import sha256
from maskcls.system.errors import UserError, one_line, some

MATCHING_SHARE = 0.9
"""Of a backbone's tensors that a file must hold by name and shape; a resampled position embedding may differ."""

HUB_FILE = "model.safetensors"
"""What timm reads of a repository on the hub, rather than its pickled twin."""

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
    commits: dict[str, str] = field(default_factory=dict)
    """Backbone -> commit of its repository on the hub; empty for weights from elsewhere."""

    def file(self, backbone: str) -> Path | None:
        """The backbone's file, None from scratch."""
        return self.files.get(backbone)

    def describe(self) -> dict[str, str]:
        """For the record: the source, and the first digits of each file's SHA-256."""
        digests = {name: sha256(path)[:12] for name, path in sorted(self.files.items())}
        return {"source": self.source, **digests}


def resolve_weights(source: str, backbones: Sequence[str], commits: Mapping[str, str] | None = None) -> Weights:
    """Weights for every backbone, all from one source.

    ``source``: "auto" (timm's hub; from scratch, with a note, when any of them cannot be had), "pretrained" (the
    same, or UserError), "scratch", or a folder of ``<backbone>.safetensors``.
    ``commits``: backbone -> commit that an earlier run had from the hub, which is asked for again; a repository's
    newest may be other weights by now.
    Raises UserError for a backbone that timm does not have, and for weights that cannot be had or are damaged.
    """
    check_backbones(backbones)
    if source == "scratch":
        return Weights("scratch", {})
    if source not in ("auto", "pretrained"):
        return _from_folder(Path(source), backbones)
    try:
        downloads = {name: _from_hub(name, (commits or {}).get(name)) for name in backbones}
        return Weights(
            "pretrained",
            {name: path for name, (path, _) in downloads.items()},
            commits={name: commit for name, (_, commit) in downloads.items() if commit},
        )
    except _NotToBeHadError as error:
        if source == "pretrained":
            raise UserError(
                f"Pretrained weights must be had and cannot: {error}."
                " Give a folder of <backbone>.safetensors, or --weights scratch."
            ) from None
        return Weights("scratch", {}, note=str(error))


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
    num_matching = sum(list(tensor.shape) == shapes.get(name) for name, tensor in state.items())
    if num_matching < MATCHING_SHARE * len(state):
        raise UserError(
            f"{path} holds another model: of the {len(state)} tensors of timm's {backbone} it has {num_matching}"
            " by name and shape. Save it under timm's own names."
        )


class _NotToBeHadError(Exception):
    """The hub does not answer, or does not have it. Its text is the reason."""


def _from_hub(backbone: str, commit: str | None) -> tuple[Path, str]:
    """(the file, the commit that it is of). ``commit``: the one to ask for; None: the newest."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

    repository, _, revision = (pretrained_cfg(backbone).hf_hub_id or "").partition("@")
    if not repository:
        raise _NotToBeHadError(f"timm's hub has no pretrained {backbone}")
    which: dict[str, Any] = {"repo_id": repository, "filename": HUB_FILE, "revision": commit or revision or None}
    cached = try_to_load_from_cache(**which)
    if isinstance(cached, str):
        path = Path(cached)
        # the hub's client keeps it as snapshots/<commit>/<file>, a link to blobs/<etag>
        _check_digest(path, path.resolve().name)
        return path, path.parent.name if _is_hex(path.parent.name, 40) else ""
    try:
        metadata = _within(HUB_SECONDS, lambda: get_hf_file_metadata(hf_hub_url(**which)))
        path = Path(hf_hub_download(**{**which, "revision": metadata.commit_hash or which["revision"]}))
    except Exception as error:  # the hub's client lets through whatever its transport raises
        reason = "no answer" if isinstance(error, TimeoutError) else type(error).__name__
        raise _NotToBeHadError(f"timm's hub cannot be reached for {backbone} ({reason})") from error
    _check_digest(path, metadata.etag or "")
    return path, metadata.commit_hash or ""


def _check_digest(path: Path, etag: str) -> None:
    """Raise UserError when the file is not the one that the hub has. A large file's etag is its SHA-256."""
    if _is_hex(etag, 64) and (digest := sha256(path)) != etag:
        raise UserError(
            f"{path} is damaged: its SHA-256 begins with {digest[:12]}, that of the hub's file with {etag[:12]}."
            f" Remove {path.resolve()} and run the command again."
        )


def _is_hex(text: str, digits: int) -> bool:
    return len(text) == digits and set(text) <= set("0123456789abcdef")


def _within(seconds: float, call: Callable[[], Any]) -> Any:
    """What ``call`` returns. Raises TimeoutError when it takes longer.

    The client's own time limits do not cover name lookup. In a daemon thread: one that never comes back must not keep
    the process from ending.
    """
    outcome: queue.Queue[tuple[Any, Exception | None]] = queue.Queue()

    def attempt() -> None:
        try:
            outcome.put((call(), None))
        except Exception as error:
            outcome.put((None, error))

    threading.Thread(target=attempt, daemon=True).start()
    try:
        result, error = outcome.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return result

"""Initial weights of backbones: from timm's hub, from a folder, or none; resolved before training."""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
from safetensors import SafetensorError, safe_open

from maskcls.model.backbones import check_backbones, pretrained_cfg
from maskcls.run.record import sha256
from maskcls.system.errors import UserError, one_line, some

MATCHING_SHARE = 0.9
"""Share of a backbone's tensors that a file must match in name and shape; position embeddings may differ."""

HUB_SECONDS = 5.0
"""Time in which the hub must answer before it counts as unreachable."""


@dataclass(frozen=True)
class Weights:
    """The initial weights of a set of backbones, all from one source."""

    source: str
    """"pretrained" (timm's hub), "scratch", or "folder"."""
    files: dict[str, Path]
    """Backbone -> safetensors file; empty from scratch."""
    note: str = ""
    """Why the source is "scratch" although "auto" was requested; else empty."""
    commits: dict[str, str] = field(default_factory=dict)
    """Backbone -> commit of its repository on the hub; empty for other sources."""

    def file(self, backbone: str) -> Path | None:
        """The backbone's file; None from scratch."""
        return self.files.get(backbone)

    def describe(self) -> dict[str, str]:
        """The source, and the first 12 digits of each file's SHA-256, for the record."""
        digests = {name: sha256(path)[:12] for name, path in sorted(self.files.items())}
        return {"source": self.source, **digests}


def resolve_weights(source: str, backbones: Sequence[str], commits: Mapping[str, str] | None = None) -> Weights:
    """Weights for every backbone, all from one source.

    ``source``: "auto" (timm's hub, or scratch with a note when any backbone is not available), "pretrained" (timm's
    hub), "scratch", or a folder of ``<backbone>.safetensors``.
    ``commits``: backbone -> commit that an earlier run got from the hub, to get the same weights again.
    Raises UserError for a backbone that timm does not have, and for weights that are not available or are damaged.
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
    except _UnavailableError as error:
        if source == "pretrained":
            raise UserError(
                f"Pretrained weights are not available: {error}."
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
    """Raise UserError unless the file holds this backbone: timm leaves tensors that it does not find at random."""
    state = timm.create_model(backbone, num_classes=0).state_dict()
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118, not a dict
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a safetensors file: {one_line(error)}.") from None
    num_matching = sum(list(tensor.shape) == shapes.get(name) for name, tensor in state.items())
    if num_matching < MATCHING_SHARE * len(state):
        raise UserError(
            f"{path} holds another model: of the {len(state)} tensors of timm's {backbone} it has {num_matching}"
            " by name and shape. Save the weights under timm's own names."
        )


class _UnavailableError(Exception):
    """The hub does not answer, or does not have the weights. The text is the reason."""


def _from_hub(backbone: str, commit: str | None) -> tuple[Path, str]:
    """(file, its commit or ""). ``commit``: the one to get; None: the newest. Raises _UnavailableError, UserError."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

    repository, _, revision = (pretrained_cfg(backbone).hf_hub_id or "").partition("@")
    if not repository:
        raise _UnavailableError(f"timm's hub has no pretrained weights of {backbone}")
    filename = "model.safetensors"  # as timm, which prefers it to the pickled twin
    request: dict[str, Any] = {"repo_id": repository, "filename": filename, "revision": commit or revision or None}
    cached = try_to_load_from_cache(**request)
    if isinstance(cached, str):
        path = Path(cached)
        # the hub's cache holds snapshots/<commit>/<file>, a link to blobs/<etag>
        _check_digest(path, path.resolve().name)
        return path, path.parent.name if _is_hex(path.parent.name, 40) else ""
    try:
        metadata = _call(lambda: get_hf_file_metadata(hf_hub_url(**request)), HUB_SECONDS)
        path = Path(hf_hub_download(**{**request, "revision": metadata.commit_hash or request["revision"]}))
    except Exception as error:  # the hub's client passes on whatever its transport raises
        reason = "no answer" if isinstance(error, TimeoutError) else type(error).__name__
        raise _UnavailableError(f"timm's hub cannot be reached for {backbone} ({reason})") from error
    _check_digest(path, metadata.etag or "")
    return path, metadata.commit_hash or ""


def _check_digest(path: Path, etag: str) -> None:
    """Raise UserError when the file differs from the hub's. The etag of a large file is its SHA-256."""
    if _is_hex(etag, 64) and (digest := sha256(path)) != etag:
        raise UserError(
            f"{path} is damaged: its SHA-256 begins with {digest[:12]}, that of the hub's file with {etag[:12]}."
            f" Remove {path.resolve()} and run the command again."
        )


def _is_hex(text: str, digits: int) -> bool:
    return len(text) == digits and set(text) <= set("0123456789abcdef")


def _call(function: Callable[[], Any], timeout: float) -> Any:
    """The result of ``function``. Raises TimeoutError when it takes longer than ``timeout`` seconds.

    The client's own timeouts do not cover name lookup. A call that never returns must not keep the process from
    ending, hence the daemon thread.
    """
    future: Future[Any] = Future()

    def attempt() -> None:
        try:
            future.set_result(function())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=attempt, daemon=True).start()
    return future.result(timeout)

"""First weights: a folder of files, the hub, or none; and the messages when they are not available. No network here."""

import hashlib
import time
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file

from maskcls.config import TrainConfig, change
from maskcls.model import weights
from maskcls.model.classifier import build_model
from maskcls.model.weights import resolve_weights
from maskcls.system.errors import UserError
from maskcls.tasks.mask import MASK_TASK
from tests.helpers.training import TINY, one_line

SPACE = MASK_TASK.space


def stored(backbone: str, folder: Path) -> torch.nn.Module:
    """A timm model of 1000 classes whose weights are in ``folder/<backbone>.safetensors``."""
    torch.manual_seed(11)
    model = timm.create_model(backbone)
    save_file(model.state_dict(), folder / f"{backbone}.safetensors")
    return model.eval()


@pytest.mark.parametrize("heads", ["joint", "three_heads", "three_models"])
@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_vit", "test_convnext"])
def test_model_begins_with_the_features_of_the_weight_folder(backbone: str, heads: str, tmp_path: Path) -> None:
    theirs = stored(backbone, tmp_path)
    found = resolve_weights(str(tmp_path), [backbone])
    config = change(TINY, backbone=backbone, heads=heads, image_size=(160, 160))
    torch.manual_seed(0)
    model = build_model(config, SPACE, found.file(backbone)).eval()
    image_BCHW = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    nets = {"joint": ["net"], "three_heads": ["backbone"], "three_models": ["mask", "gender", "age"]}[heads]
    with torch.inference_mode():
        expected = theirs.forward_features(image_BCHW)
        for name in nets:
            assert torch.equal(getattr(model, name).forward_features(image_BCHW), expected)
        scratch = build_model(config, SPACE, None).eval()
        assert not torch.equal(getattr(scratch, nets[0]).forward_features(image_BCHW), expected)


def test_position_embeddings_are_resampled_to_another_size(tmp_path: Path) -> None:
    theirs = stored("test_vit", tmp_path)
    config = change(TINY, backbone="test_vit", image_size=(96, 64))
    model = build_model(config, SPACE, tmp_path / "test_vit.safetensors")
    assert torch.equal(model.net.patch_embed.proj.weight, theirs.patch_embed.proj.weight)
    assert model.net.pos_embed.shape != theirs.pos_embed.shape


def test_folder_is_named_by_its_files_digests(tmp_path: Path) -> None:
    stored("test_efficientnet", tmp_path)
    digest = hashlib.sha256((tmp_path / "test_efficientnet.safetensors").read_bytes()).hexdigest()
    described = resolve_weights(str(tmp_path), ["test_efficientnet"]).describe()
    assert described == {"source": "folder", "test_efficientnet": digest[:12]}
    assert resolve_weights("scratch", ["test_efficientnet"]).describe() == {"source": "scratch"}


def test_folder_must_hold_every_backbone(tmp_path: Path) -> None:
    stored("test_efficientnet", tmp_path)
    with pytest.raises(
        UserError, match=r"lacks test_vit\.safetensors, test_convnext\.safetensors; it must hold a file"
    ):
        resolve_weights(str(tmp_path), ["test_vit", "test_efficientnet", "test_convnext"])
    with pytest.raises(UserError, match=r"--weights takes .* there is no folder nowhere\."):
        resolve_weights("nowhere", ["test_vit"])


@pytest.mark.parametrize("content", [b"no tensors", b""])
def test_broken_weight_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "test_efficientnet.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        resolve_weights(str(tmp_path), ["test_efficientnet"])
    assert f"{path} is not a safetensors file" in one_line(caught.value)
    with pytest.raises(UserError) as caught:
        build_model(TINY, SPACE, path)
    assert f"timm cannot build test_efficientnet from {path}" in one_line(caught.value)


@pytest.mark.parametrize("other", ["test_vit", "test_efficientnet_ln"])
def test_weight_file_of_another_backbone_is_refused(tmp_path: Path, other: str) -> None:
    stored(other, tmp_path)
    (tmp_path / f"{other}.safetensors").rename(tmp_path / "test_efficientnet.safetensors")
    with pytest.raises(UserError, match=r"holds another model: of the .* tensors of timm's test_efficientnet it has"):
        resolve_weights(str(tmp_path), ["test_efficientnet"])


def test_unknown_backbone_shows_the_nearest() -> None:
    with pytest.raises(UserError, match=r"timm has no backbone named 'efficientnetb3'\. Nearest: .*efficientnet_b3"):
        resolve_weights("scratch", ["efficientnetb3"])
    with pytest.raises(UserError, match="timm has no backbone named 'zzzz'"):
        resolve_weights("auto", ["zzzz"])


def never_answers(*_: object, **__: object) -> None:
    time.sleep(30)


@pytest.fixture
def silent_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that accepts every question and answers none."""
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", never_answers)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda **_: pytest.fail("asked for the file itself"))
    monkeypatch.setattr(weights, "HUB_SECONDS", 0.2)


@pytest.mark.usefixtures("silent_hub")
def test_hub_that_does_not_answer_means_scratch_with_a_note() -> None:
    begun = time.perf_counter()
    found = resolve_weights("auto", ["test_efficientnet", "test_vit"])
    assert time.perf_counter() - begun < 2
    assert (found.source, found.files) == ("scratch", {})
    assert found.note == "timm's hub cannot be reached for test_efficientnet (no answer)"
    assert found.file("test_vit") is None


@pytest.mark.usefixtures("silent_hub")
def test_hub_that_does_not_answer_is_an_error_when_pretrained_is_asked_for() -> None:
    with pytest.raises(UserError, match=r"are not available: .*no answer.* or --weights scratch\."):
        resolve_weights("pretrained", ["test_efficientnet"])


def test_hub_has_five_seconds() -> None:
    assert weights.HUB_SECONDS == 5.0


def test_offline_hub_means_scratch_at_once() -> None:
    begun = time.perf_counter()
    found = resolve_weights("auto", ["test_efficientnet"])
    assert found.source == "scratch"
    assert "cannot be reached" in found.note
    assert time.perf_counter() - begun < 2


def test_backbone_that_the_hub_lacks_is_named() -> None:
    found = resolve_weights("auto", ["test_mambaout"])
    assert (found.source, found.note) == ("scratch", "timm's hub has no pretrained weights of test_mambaout")


COMMITS = ("a" * 40, "b" * 40)


class Hub:
    """A hub that has some files, and counts what it is asked."""

    def __init__(self, folder: Path, has: set[str]) -> None:
        self.folder, self.has = folder, has

        self.newest, self.etag = COMMITS[0], ""
        self.asked: list[str] = []

    def metadata(self, url: str) -> SimpleNamespace:
        if not any(f"/{repository}/" in url for repository in self.has):
            raise OSError(404)
        revision = url.split("/resolve/")[1].split("/")[0]
        self.asked.append(revision)
        return SimpleNamespace(commit_hash=self.newest if revision == "main" else revision, etag=self.etag)

    def download(self, repo_id: str, filename: str, revision: str | None) -> str:
        assert filename == "model.safetensors"
        assert revision in COMMITS  # never a name that may be another commit by now
        self.asked.append(f"file {revision}")
        path = self.folder / repo_id
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"weights")
        return str(path)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    hub = Hub(tmp_path, {"timm/test_efficientnet.r160_in1k"})
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", hub.metadata)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub.download)
    return hub


def test_sources_are_never_mixed(hub: Hub) -> None:
    found = resolve_weights("auto", ["test_efficientnet", "test_vit"])
    assert (found.source, found.files) == ("scratch", {})
    assert found.note == "timm's hub cannot be reached for test_vit (OSError)"
    hub.has.add("timm/test_vit.r160_in1k")
    found = resolve_weights("auto", ["test_efficientnet", "test_vit"])
    assert found.source == "pretrained"
    assert found.file("test_vit") == hub.folder / "timm" / "test_vit.r160_in1k"
    assert found.note == ""


def test_files_downloaded_before_need_no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    here = tmp_path / "model.safetensors"
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda **_: str(here))
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda _: pytest.fail("asked the hub"))
    assert resolve_weights("pretrained", [TrainConfig().backbone]).files == {"efficientnet_b3": here}


NAME = "test_efficientnet"


def test_hub_weights_are_had_and_recorded_by_their_commit(hub: Hub) -> None:
    found = resolve_weights("pretrained", [NAME])
    assert found.commits == {NAME: COMMITS[0]}
    assert hub.asked == ["main", f"file {COMMITS[0]}"]
    assert found.describe() == {"source": "pretrained", NAME: hashlib.sha256(b"weights").hexdigest()[:12]}


def test_the_commit_of_an_earlier_run_is_asked_for_again(hub: Hub) -> None:
    hub.newest = COMMITS[1]
    assert resolve_weights("auto", [NAME], {NAME: COMMITS[0], "test_vit": COMMITS[1]}).commits == {NAME: COMMITS[0]}
    assert hub.asked == [COMMITS[0], f"file {COMMITS[0]}"]
    assert resolve_weights("scratch", [NAME], {NAME: COMMITS[0]}).commits == {}


def test_a_download_that_is_not_the_hubs_file_is_refused(hub: Hub) -> None:
    hub.etag = hashlib.sha256(b"weights").hexdigest()
    assert resolve_weights("pretrained", [NAME]).files
    hub.etag = hashlib.sha256(b"other weights").hexdigest()
    for source in ("auto", "pretrained"):  # not to be taken for a hub that is out of reach
        with pytest.raises(UserError, match=r"is damaged: its SHA-256 begins with .* Remove .* and run"):
            resolve_weights(source, [NAME])
    hub.etag = "0123456789abcdef0123456789abcdef01234567"  # of a small file: git's own digest
    assert resolve_weights("pretrained", [NAME]).files


def cached(folder: Path, content: bytes, digest: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file as the hub's client keeps it; asking the hub fails the test."""
    blob = folder / "blobs" / digest
    blob.parent.mkdir()
    blob.write_bytes(content)
    link = folder / "snapshots" / COMMITS[1] / "model.safetensors"
    link.parent.mkdir(parents=True)
    link.symlink_to(blob)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda **_: str(link))
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda _: pytest.fail("asked the hub"))
    return link


def test_a_file_downloaded_before_is_known_by_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = cached(tmp_path, b"weights", hashlib.sha256(b"weights").hexdigest(), monkeypatch)
    found = resolve_weights("auto", [NAME])
    assert (found.files, found.commits) == ({NAME: link}, {NAME: COMMITS[1]})


def test_a_damaged_file_downloaded_before_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached(tmp_path, b"weighs", hashlib.sha256(b"weights").hexdigest(), monkeypatch)
    with pytest.raises(UserError) as caught:
        resolve_weights("auto", [NAME])
    assert f"Remove {tmp_path}/blobs/" in one_line(caught.value)

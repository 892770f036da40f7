"""Names of backbones: which of timm's can be asked for, and what timm knows of each."""

from collections.abc import Sequence
from functools import cache

import timm
from timm.models import PretrainedCfg, get_deprecated_models

from maskcls.system.errors import UserError, nearest, one_line, some

ELSEWHERE = (":", "/", "\\")
"""Signs of a name that is none of timm's own: ``hf-hub:owner/model``, ``local-dir:/path``, a path."""


def check_backbones(names: Sequence[str]) -> None:
    """Raise UserError for a name that is not one of timm's own of today, with or without a tag of pretrained weights.

    timm's ``is_model`` says yes to more: to names that timm has given up, and to any tag.
    """
    for name in names:
        pretrained_cfg(name)


def pretrained_cfg(name: str) -> PretrainedCfg:
    """What timm knows of the backbone's pretraining: its pixels, its input, where its weights are.

    Raises UserError as check_backbones does.
    """
    if any(sign in name for sign in ELSEWHERE):
        raise UserError(
            f"backbone is one of timm's own names, for example resnet50, not {one_line(name)!r}."
            " Weights from elsewhere come from a folder: --weights DIR."
        )
    arch, dot, tag = name.partition(".")
    renamed = get_deprecated_models()
    if arch in renamed:
        raise UserError(f"timm has given up the name {arch!r}. {_today(renamed[arch])}")
    if not timm.is_model(arch):
        raise UserError(f"timm has no backbone named {one_line(name)!r}.{nearest(name, timm.list_models())}")
    known = _tagged(arch)
    if dot and name not in known:
        raise UserError(f"timm has no weights {tag!r} of {arch}. There are: {some(known) or f'none, so use {arch}'}.")
    cfg = timm.get_pretrained_cfg(name)
    if cfg is None:
        raise UserError(f"timm does not know which pixels {name} expects, so it cannot be trained. Use another.")
    return cfg


def _today(name: str | None) -> str:
    """What to write in the place of a name that timm has given up. ``name``: today's by timm's own table."""
    arch, _, tag = (name or "").partition(".")
    if not arch:
        return "It has no other for it."
    known = _tagged(arch)
    if tag and name not in known:
        return f"It was {arch} with weights that are gone; there are: {some(known)}."
    return f"Today it is {name}: use that."


def _tagged(arch: str) -> list[str]:
    """The names with a tag of one architecture."""
    return [name for name in timm.list_models(f"{arch}.*", include_tags=True) if name.startswith(f"{arch}.")]


@cache  # asked at every step
def pixel_statistics(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Channel mean and std that the backbone was pretrained with, on pixels in [0, 1]."""
    cfg = pretrained_cfg(name)
    return tuple(cfg.mean), tuple(cfg.std)

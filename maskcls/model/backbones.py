"""Names of timm's backbones: which can be used, and how each was pretrained."""

from collections.abc import Sequence
from functools import cache

import timm
from timm.models import PretrainedCfg, get_deprecated_models

from maskcls.system.errors import UserError, nearest, one_line, some

FOREIGN = (":", "/", "\\")
"""Characters of a name that is not timm's own: ``hf-hub:owner/model``, ``local-dir:/path``, a path."""


def check_backbones(names: Sequence[str]) -> None:
    """Raise UserError for a name that is not one of timm's current names, with or without a tag of pretrained weights.

    timm's ``is_model`` also accepts deprecated names and any tag.
    """
    for name in names:
        pretrained_cfg(name)


def pretrained_cfg(name: str) -> PretrainedCfg:
    """timm's pretraining configuration of the backbone: mean and std of its pixels, input size, weights.

    Raises UserError as check_backbones does.
    """
    if any(character in name for character in FOREIGN):
        raise UserError(
            f"backbone must be one of timm's own names, for example resnet50, not {one_line(name)!r}."
            " Weights from elsewhere come from a folder: --weights DIR."
        )
    arch, dot, tag = name.partition(".")
    renamed = get_deprecated_models()
    if arch in renamed:
        raise UserError(f"timm has dropped the name {arch!r}. {_replacement(renamed[arch])}")
    if not timm.is_model(arch):
        raise UserError(f"timm has no backbone named {one_line(name)!r}.{nearest(name, timm.list_models())}")
    tagged = _tagged_names(arch)
    if dot and name not in tagged:
        raise UserError(f"timm has no weights {tag!r} of {arch}. There are: {some(tagged) or f'none, so use {arch}'}.")
    cfg = timm.get_pretrained_cfg(name)
    if cfg is None:
        raise UserError(f"timm does not say how to normalise the input of {name}. Use another backbone.")
    return cfg


def _replacement(name: str | None) -> str:
    """The sentence on what to use instead of a deprecated name. ``name``: its successor in timm's own table."""
    if not name:
        return "It has no successor; use another backbone."
    arch, _, tag = name.partition(".")
    tagged = _tagged_names(arch)
    if tag and name not in tagged:
        return f"It was {arch} with weights that timm no longer has; there are: {some(tagged)}."
    return f"Use {name}."


def _tagged_names(arch: str) -> list[str]:
    """The names of an architecture with a tag of pretrained weights."""
    return [name for name in timm.list_models(f"{arch}.*", include_tags=True) if name.startswith(f"{arch}.")]


@cache  # called at every step
def pixel_statistics(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) of every channel in the backbone's pretraining, for pixels in [0, 1]."""
    cfg = pretrained_cfg(name)
    return tuple(cfg.mean), tuple(cfg.std)

"""Versions, commit and decoder that a study was created with and is continued with: they may change last digits."""

from collections.abc import Mapping
from typing import Any

import optuna

from maskcls.system.console import say
from maskcls.system.provenance import commit, versions
from search.study.attributes import COMMIT, VERSIONS


def creation_facts(**more: str) -> dict[str, Any]:
    """Attributes that a new study is stored with; ``more`` is the decoder, known only to processes that load torch."""
    return {COMMIT: commit(), VERSIONS: versions(), **more}


def changes_since_creation(study: optuna.Study, **more: str) -> str:
    """``torch 2.13.0 -> 2.14.1, commit ab12 -> cd34``; empty if no known fact has changed."""
    old, new = (_flat(facts, more) for facts in (study.user_attrs, creation_facts(**more)))
    return ", ".join(f"{name} {old[name]} -> {value}" for name, value in new.items() if old.get(name, value) != value)


def _flat(facts: Mapping[str, Any], more: Mapping[str, str]) -> dict[str, str]:
    """Fact -> its value; unknown ones are left out."""
    values = {**(facts.get(VERSIONS) or {}), **{name: facts.get(name) for name in (COMMIT, *more)}}
    return {name: str(value) for name, value in values.items() if value not in (None, "unknown")}


def show_changes(changes: str) -> None:
    """Print a line of the plan; none if nothing has changed."""
    if changes:
        say(f"  changed   since the study began: {changes}; earlier and later trials may differ in more than the seed")

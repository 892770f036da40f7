"""What a study was begun with and what it goes on with: versions, commit and decoder, which may move last digits."""

from collections.abc import Mapping
from typing import Any

import optuna

from maskcls.system.console import say
from maskcls.system.provenance import commit, versions
from search.study.attributes import COMMIT, VERSIONS


def creation_facts(**more: str) -> dict[str, Any]:
    """What a study keeps of what it is made with; ``more`` is known only where torch is loaded (the decoder)."""
    return {COMMIT: commit(), VERSIONS: versions(), **more}


def changes_since_creation(study: optuna.Study, **more: str) -> str:
    """``torch 2.13.0 -> 2.14.1, commit ab12 -> cd34``; empty when all is as it was, as far as that is known."""
    there, here = (_flat(facts, more) for facts in (study.user_attrs, creation_facts(**more)))
    return ", ".join(
        f"{name} {there[name]} -> {found}" for name, found in here.items() if there.get(name, found) != found
    )


def _flat(facts: Mapping[str, Any], more: Mapping[str, str]) -> dict[str, str]:
    """Fact -> its value; one that nobody could know is left out."""
    every = {**(facts.get(VERSIONS) or {}), **{name: facts.get(name) for name in (COMMIT, *more)}}
    return {name: str(value) for name, value in every.items() if value not in (None, "unknown")}


def show_changes(changes: str) -> None:
    """A line of a plan; nothing when nothing has changed."""
    if changes:
        say(f"  changed   since the study began: {changes}; trials from before and after may differ in more than seed")

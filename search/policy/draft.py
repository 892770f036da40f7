"""What takes long of a proposal, computed before a turn of the study, so that other workers need not wait for it.

What the sampler proposes and the setting of a new round take up to a second; what else a proposal consists of (the next
training of a round, the levels whose turn it is) takes milliseconds and is always decided in the turn, by the trials as
they are then. A worker alone finds in its turn the trials that it saw before it: it proposes what it would have
proposed without a draft.
"""

import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar, cast

from optuna.trial import FrozenTrial

T = TypeVar("T")


class OutdatedDraftError(Exception):
    """Others have begun trials since the draft was made, and it has not what is proposed now."""


class Draft:
    """The slow parts of one proposal: computed until it is ``finished``, then looked up."""

    def __init__(self, trials: Sequence[FrozenTrial], entropy: Sequence[int] = ()) -> None:
        """``trials``: those of the study now. ``entropy``: numbers of the worker's own for the sampler's seed.

        A draft without them is used only if no other trial has begun since: the others drew the same from the same
        trials. One with them is used, too, if others have begun.
        """
        self.num_trials, self.entropy = len(trials), tuple(entropy)
        self.is_finished = False
        self._parts: dict[Hashable, Any] = {}

    def part(self, key: Hashable, compute: Callable[[], T], num_trials: int) -> T:
        """The part of this key, for a study that has ``num_trials`` trials by now.

        Raises OutdatedDraftError when a finished draft does not have it, or may not be used any more.
        """
        if not self.is_finished:
            self._parts[key] = compute()
        elif key not in self._parts or (num_trials != self.num_trials and not self.entropy):
            raise OutdatedDraftError
        return cast(T, self._parts[key])

    def check_is_new(self, params: Mapping[str, Any], trials: Sequence[FrozenTrial]) -> None:
        """Raise OutdatedDraftError when a trial that has begun since the draft was made has these parameters."""
        if any(params.items() <= trial.params.items() for trial in trials[self.num_trials :]):
            raise OutdatedDraftError

    def check_is_loaded(self, module: str) -> None:
        """Raise OutdatedDraftError in a turn that would load this module, which may take seconds."""
        if self.is_finished and module not in sys.modules:
            raise OutdatedDraftError

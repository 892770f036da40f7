"""What a composition, an ensemble or a soup gains over the best single model: the lines, and the facts to store."""

from typing import Any

from maskcls.system.console import say
from maskcls.tasks.task import METRICS
from search.answer.candidates import Candidate
from search.answer.format import (
    NOT_DISTINCT,
    as_score,
    capital,
    difference_words,
    has_interval,
    power_words,
    score_words,
)
from search.answer.gains import Best, Gain


def best_words(best: Best, chosen: str = "being the best of") -> str:
    """``macro F1 0.6211 (95 % interval ...); 0.6100 once corrected for being the best of 24``.

    ``chosen``: how it was chosen among its candidates.
    """
    text = f"{METRICS[best.counts.metric]} {score_words(best.score)}"
    if best.candidates == 1:
        return text
    return f"{text}; {as_score(best.selected.corrected)} once corrected for {chosen} {best.candidates}"


def show_gain(model: Candidate, single: Best, best: Best, gain: Gain, kind: str) -> None:
    """``model``: the best single model, with the score ``single``; ``best``: the best of ``kind``, a trio, say."""
    verdict, unit = gain.corrected.verdict, model.stored.task.unit
    verdict = verdict if verdict == NOT_DISTINCT else f"the {kind} is {verdict}"
    say(f"single    {model.name}: {best_words(single)}")
    say(f"gain      {difference_words(gain.measured)} as measured")
    say(f"          {difference_words(gain.corrected)} once corrected: {verdict}")
    if has_interval(gain.corrected):
        say(f"{capital(power_words(gain.corrected.minimum_detectable_effect))}; a smaller one is easily missed.")
    say(
        f"This is about trained models, not recipes, and the {kind} was chosen from {best.candidates} by the same"
        f" {unit.many} {unit.who} judge it here."
    )


def model_facts(model: Candidate, part: str) -> dict[str, Any]:
    """What [origin] says of a stored model that predicts ``part``: its study, its trial, and its score there."""
    return {"study": model.study, "trial": model.trial.number, model.stored.task.metric: model.score(part)}


def gain_facts(gain: Gain) -> dict[str, Any]:
    """What [origin] says of a gain: as corrected, with its interval and its verdict."""
    corrected = gain.corrected
    return {"value": corrected.value, "low": corrected.low, "high": corrected.high, "verdict": corrected.verdict}

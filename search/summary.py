"""What a study came to so far: its levels, its best trial beside the baseline, and what to type next."""

from pathlib import Path
from statistics import fmean

import optuna
from optuna.trial import FrozenTrial, TrialState

from maskcls.cli import say
from search.keep import best_trials
from search.limits import FINISHED
from search.live import describe_values, duration
from search.replicates import incumbent, noise, values_of_runs
from search.savings import savings
from search.space import Factor, factors, values_of
from search.storage import default_url
from search.stored import Stored


def summarise(study: optuna.Study, stored: Stored, runs: Path, storage_url: str | None) -> None:
    """Print it."""
    trials = study.get_trials(deepcopy=False, states=FINISHED)
    best = next(iter(best_trials(trials, 1)), None)
    if best is None:
        say("No trial is complete yet.")
        return
    for factor in factors(stored.study.scientific):
        _show_factor(factor, trials)
    _show_trial("best", best, stored)
    leading = incumbent(trials)
    if len(leading) > 1:
        values = describe_values(values_of(stored.study.space, leading[0].params))
        mean = fmean(values_of_runs(leading))
        say(f"leads     mean of {len(leading)} runs: macro F1 {mean:.4f}  {values}")
    baseline = next((trial for trial in trials if trial.user_attrs.get("role") == "baseline"), None)
    known = noise(trials)
    if baseline is not None and baseline.number != best.number:
        _show_trial("baseline", baseline, stored)
    if known is not None:
        say(f"noise     {known.describe()}")
    _show_gain(best, baseline, is_noise_known=known is not None)
    _show_pruning(trials)
    _show_next(study.study_name, runs, storage_url)


def _show_gain(best: FrozenTrial, baseline: FrozenTrial | None, is_noise_known: bool) -> None:
    if baseline is None or baseline.number == best.number or best.value is None or baseline.value is None:
        return
    luck = "" if is_noise_known else "; one run each: part of it is luck"
    what = "The best is" if best.params != baseline.params else "The best is the baseline with another seed,"
    say(f"{what} {best.value - baseline.value:+.4f} from the baseline{luck}.")


def _show_factor(factor: Factor, trials: list[FrozenTrial]) -> None:
    """Each level's share of the trials, and its best."""
    say(f"{factor.param}: each level at its best, not yet told from noise")
    for index in range(len(factor.levels)):
        # a repeated run is another draw of the same lottery, which other levels do not get
        here = [t for t in trials if factor.level(t.params) == index and t.user_attrs.get("role") != "replicate"]
        complete = [trial for trial in here if trial.state == TrialState.COMPLETE]
        best = max((trial.value for trial in complete if trial.value is not None), default=None)
        shown = "   -  " if best is None else f"{best:.4f}"
        pruned = len(here) - len(complete)
        say(f"  {factor.describe(index):32s} {shown}  {len(complete)} complete, {pruned} pruned")


def _show_trial(role: str, trial: FrozenTrial, stored: Stored) -> None:
    values = describe_values(values_of(stored.study.space, trial.params))
    parts = "".join(
        f"  {part} {trial.user_attrs[f'f1_{part}']:.4f}"
        for part in ("mask", "gender", "age")
        if f"f1_{part}" in trial.user_attrs
    )
    say(f"{role:9s} trial {trial.number}: macro F1 {_show(trial.value)}{parts}  {values}")


def _show(value: float | None) -> str:
    return "none, it diverged" if value is None else f"{value:.4f}"


def _show_pruning(trials: list[FrozenTrial]) -> None:
    """How much of the training that was planned did not have to be done, and what that would have taken."""
    saved = savings(trials)
    if saved.pruned:
        say(
            f"Pruning stopped {saved.pruned} of {saved.finished} trials and saved {saved.share:.0%} of the training,"
            f" about {duration(saved.seconds)}."
        )


def place_words(runs: Path, storage_url: str | None) -> str:
    """What a command needs to be told besides the study: nothing where everything is as by default."""
    return f" --storage {storage_url}" if storage_url else (f" --runs {runs}" if runs != Path("runs") else "")


def _show_next(name: str, runs: Path, storage_url: str | None) -> None:
    where = place_words(runs, storage_url)
    url = storage_url or default_url(runs)
    say("Next:")
    say(f"  python -m search.export --study {name} -o best.toml{where}")
    say(f"  python -m search.dashboard{where}")
    say(f"  optuna-dashboard {url} --artifact-dir {runs}/artifacts")

"""The report's sections on the search itself: hyperparameter importance, learning curves, pruning, noise, cost."""

import math
import warnings
from collections import defaultdict
from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from maskcls.system.errors import UserError, count_of, listed, one_line
from search.answer.format import as_score, capital, describe_values, duration, percent
from search.page.blocks import Section, Table, Text
from search.page.data import Material
from search.page.figures import Curve, draw_bars, draw_curves
from search.policy.history import runs_by_configuration, savings, seed_noise, values_of_runs
from search.policy.stopping import epochs_spent
from search.study.attributes import DEVICE, PEAK_GIB, PHOTOS_PER_SECOND, SECONDS, evaluations_of, judged_by_study

MIN_TRIALS = 10
"""Fewest complete trials for an importance that is more than guesswork."""


MAX_CURVES = 1000
"""Of more curves only some are drawn: they hide each other, and ten thousand take 200 MiB and a page of megabytes."""


def importance_section(material: Material) -> Section:
    """Optuna's importance of each hyperparameter."""
    title = "Which hyperparameters mattered"
    complete = sum(trial.state == TrialState.COMPLETE for trial in material.trials)
    if complete < MIN_TRIALS:
        text = f"Too few complete trials to tell: {complete} of the {MIN_TRIALS} needed."
        return Section(title, (Text(text),))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importances = optuna.importance.get_param_importances(material.study)
    except Exception as error:  # Optuna does not document what its evaluators raise
        return Section(title, (Text(f"The importances could not be computed: {one_line(error).rstrip('.')}."),))
    values = ", ".join(f"{name} {value:.2f}" for name, value in importances.items())
    text = (
        f"How much each hyperparameter decided whether a complete trial was among the best (PED-ANOVA, {complete}"
        " complete trials), over the whole range searched. The levels, which had the same number of trials each, are"
        " compared above."
    )
    caption = "Importance of each hyperparameter; the sum is 1."
    return Section(title, (Text(text), draw_bars("importance", importances, f"{caption} {values}.", caption)))


def curves_section(material: Material) -> Section:
    """Learning curves, when trials were pruned, and what that saved."""
    title = "Learning curves and pruning"
    curves = [_curve(trial, material) for trial in material.finished if trial.intermediate_values]
    if not curves:
        return Section(title, (Text("No trial has finished yet."),))
    saved, metric = savings(material.finished), material.stored.task.metric_words
    alt = f"Learning curves of {count_of(len(curves), 'trial')}, {metric} over evaluations; {saved.pruned} end early."
    drawn = _thinned(curves)
    some_only = "" if len(drawn) == len(curves) else f" {len(drawn)} of {len(curves)} trials are drawn."
    caption = f"{capital(metric)} on the validation split after each evaluation.{some_only}"
    figure = draw_curves("curves", drawn, metric, alt, caption)
    if not saved.pruned:
        return Section(title, (Text(f"None of {count_of(saved.finished, 'trial')} was pruned."), figure))
    text = (
        f"Pruning stopped {saved.pruned} of {count_of(saved.finished, 'trial')} and saved {percent(saved.share)} of the"
        f" training, about {duration(saved.seconds)}."
    )
    return Section(title, (Text(text), figure, _pruned_table(material.finished)))


def _thinned(curves: Sequence[Curve]) -> Sequence[Curve]:
    """Those of the best trial and of the baseline, and of all one in so many that MAX_CURVES are left."""
    every = math.ceil(len(curves) / MAX_CURVES)
    return [
        curve for number, curve in enumerate(curves) if number % every == 0 or curve.kind not in ("pruned", "complete")
    ]


def _curve(trial: FrozenTrial, material: Material) -> Curve:
    kind = "pruned" if trial.state == TrialState.PRUNED else "complete"
    if material.baseline is not None and trial.number == material.baseline.number:
        kind = "baseline"
    if material.best is not None and trial.number == material.best.number:
        kind = "best"
    return Curve(dict(trial.intermediate_values), kind)


def _pruned_table(trials: Sequence[FrozenTrial]) -> Table:
    """A row for each evaluation after which trials were stopped."""
    trials_by_step: dict[int, list[FrozenTrial]] = defaultdict(list)
    for trial in trials:
        if trial.state == TrialState.PRUNED:
            trials_by_step[evaluations_of(trial) or max(trial.intermediate_values, default=0)].append(trial)
    titles = ("stopped after evaluation", "trials", "evaluations saved", "time saved", "trial numbers")
    rows = []
    for step, stopped in sorted(trials_by_step.items()):
        saved = savings(stopped)
        cells = (str(step), str(saved.pruned), str(saved.evaluations), f"about {duration(saved.seconds)}")
        rows.append((*cells, listed([trial.number for trial in stopped])))
    return Table(titles, tuple(rows), titles[:4])


def noise_section(material: Material) -> Section | None:
    """The spread between runs of one configuration, and the configurations that ran more than once.

    None where rounds show the spread, and are compared by it, without any repetition.
    """
    title = "Noise"
    trials = judged_by_study(material.trials)
    noise = seed_noise(trials)
    if noise is None and material.answer.rounds is not None and material.answer.rounds.looks:
        return None
    if noise is None:
        text = "No configuration has two complete runs yet, so the spread between training seeds is not known."
        return Section(title, (Text(text),))
    rows = []
    for runs in runs_by_configuration(trials).values():
        if len(runs) > 1:
            values = values_of_runs(runs)
            each = ", ".join(f"{as_score(value)} (trial {run.number})" for run, value in zip(runs, values, strict=True))
            mean = as_score(sum(values) / len(values))
            rows.append((describe_values(material.values(runs[0])), str(len(runs)), mean, each))
    text = (
        f"{capital(material.stored.task.metric_words)} differs by {noise.describe()}. Two trainings of the same"
        " configuration differ by about that; a smaller lead of a single run says nothing."
    )
    titles = ("configuration", "runs", "mean", "each run")
    return Section(title, (Text(text), Table(titles, tuple(rows), titles[1:3])))


COST_TITLES = ("device", "trials", "device hours", "time per trial", "epochs", "photos per second", "peak memory")


def cost_section(material: Material) -> Section:
    """Device hours, time per trial and epochs, by device."""
    by_device: dict[str, list[FrozenTrial]] = defaultdict(list)
    for trial in material.finished:
        if SECONDS in trial.user_attrs:
            by_device[str(trial.user_attrs.get(DEVICE, "unknown"))].append(trial)
    if not by_device:
        return Section("Cost", (Text("No trial has finished yet."),))
    evaluations_per_epoch = material.config.evaluations_per_epoch
    rows = [_cost_row(device, trials, evaluations_per_epoch) for device, trials in sorted(by_device.items())]
    trials = [trial for trials in by_device.values() for trial in trials]
    if len(rows) > 1:
        rows.append(_cost_row("all", trials, evaluations_per_epoch))
    seconds = sum(trial.user_attrs[SECONDS] for trial in trials)
    epochs = epochs_spent(trials, evaluations_per_epoch)
    mean = duration(seconds / len(trials))
    text = (
        f"{count_of(len(trials), 'trial')} took {seconds / 3600:.2f} device hours, {mean} per trial on average, and"
        f" {epochs:g} epochs{_photos(material, epochs)}.{_uncounted(material, len(trials))}"
    )
    return Section("Cost", (Text(text), Table(COST_TITLES, tuple(rows), COST_TITLES[1:])))


def _cost_row(device: str, trials: list[FrozenTrial], evaluations_per_epoch: int) -> tuple[str, ...]:
    records = [trial.user_attrs for trial in trials]
    seconds = sum(record[SECONDS] for record in records)
    speed = sum(record.get(PHOTOS_PER_SECOND, 0.0) for record in records) / len(records)
    memory = max(record.get(PEAK_GIB, 0.0) for record in records)
    return (
        device,
        str(len(trials)),
        f"{seconds / 3600:.2f}",
        duration(seconds / len(trials)),
        f"{epochs_spent(trials, evaluations_per_epoch):g}",
        f"{speed:,.0f}",
        f"{memory:.1f} GiB",
    )


def _photos(material: Material, epochs: float) -> str:
    """How many photos were trained on; empty where the study's photos are no longer available."""
    from maskcls.data.dataset import read_table
    from search.page.gallery import photo_folder

    folder = photo_folder(material)
    if not folder.is_dir():
        return ""
    try:
        table = read_table(folder, material.config, material.stored.label_fixes, material.stored.task)
    except UserError:
        return ""
    if table.hash != material.stored.split:
        return ""
    _, photos = table.count("train")
    return f", {epochs * photos:,.0f} training photos seen ({photos:,} per epoch)"


def _uncounted(material: Material, counted: int) -> str:
    diverged = len(material.finished) - counted
    failed = sum(trial.state == TrialState.FAIL for trial in material.trials)
    left_out = [f"{count_of(diverged, 'trial')} without a record (diverged)"] if diverged else []
    left_out += [count_of(failed, "failed trial")] if failed else []
    return f" Not counted: {listed(left_out)}." if left_out else ""

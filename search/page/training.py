"""The report's part on the search itself: which knobs mattered, learning curves, pruning, noise, cost."""

import warnings
from collections import defaultdict
from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from maskcls.system.errors import UserError, count_of, one_line
from search.answer.format import as_score, describe_values, duration, listed, percent
from search.page.blocks import Block, Section, Table, Text
from search.page.data import Material
from search.page.figures import Curve, draw_bars, draw_curves
from search.policy.history import runs_by_configuration, savings, seed_noise, values_of_runs
from search.policy.stopping import epochs_spent
from search.study.attributes import DEVICE, PEAK_GIB, PHOTOS_PER_SECOND, SECONDS, evaluations_of

MIN_TRIALS = 10
"""Complete trials, below which an importance is guesswork."""


def importance_section(material: Material) -> Section:
    """Which knobs decided most, by Optuna's importances."""
    title = "Which knobs mattered"
    complete = [trial for trial in material.trials if trial.state == TrialState.COMPLETE]
    if len(complete) < MIN_TRIALS:
        told = count_of(len(complete), "complete trial")
        return Section(title, (Text(f"There are too few complete trials to tell: {told}, of {MIN_TRIALS} needed."),))
    try:
        values = importances(material.study)
    except Exception as error:  # what an evaluator raises for a study of its own kind is not written down anywhere
        return Section(title, (Text(f"The importances could not be computed: {one_line(error).rstrip('.')}."),))
    seen = ", ".join(f"{name} {value:.2f}" for name, value in values.items())
    text = (
        f"Share of what decided whether a complete trial was among the best (PED-ANOVA, {len(complete)} complete"
        " trials). It is about the whole range searched: the levels, which had the same number of trials each, are"
        " judged above."
    )
    caption = "Importance of each knob; together 1."
    return Section(title, (Text(text), draw_bars("importance", values, f"{caption} {seen}.", caption)))


def importances(study: optuna.Study) -> dict[str, float]:
    """Parameter -> importance, the largest first; by Optuna's default evaluator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return optuna.importance.get_param_importances(study)


def curves_section(material: Material) -> Section:
    """Learning curves, what was pruned when, and what that saved."""
    title = "Learning curves and pruning"
    curves = [_curve(trial, material) for trial in material.finished if trial.intermediate_values]
    if not curves:
        return Section(title, (Text("No trial has ended yet."),))
    saved = savings(material.finished)
    blocks: list[Block] = []
    if saved.pruned:
        blocks.append(
            Text(
                f"Pruning stopped {saved.pruned} of {count_of(saved.finished, 'trial')} and saved"
                f" {percent(saved.share)} of the training, about {duration(saved.seconds)}."
            )
        )
    else:
        blocks.append(Text(f"None of {count_of(saved.finished, 'trial')} was pruned."))
    alt = f"Learning curves of {count_of(len(curves), 'trial')}, macro F1 over evaluations; {saved.pruned} end early."
    blocks.append(draw_curves("curves", curves, alt, "Macro F1 on the validation split after each evaluation."))
    if saved.pruned:
        blocks.append(_pruned_table(material.finished))
    return Section(title, tuple(blocks))


def _curve(trial: FrozenTrial, material: Material) -> Curve:
    kind = "pruned" if trial.state == TrialState.PRUNED else "complete"
    if material.baseline is not None and trial.number == material.baseline.number:
        kind = "baseline"
    if material.best is not None and trial.number == material.best.number:
        kind = "best"
    return Curve(trial.number, dict(trial.intermediate_values), kind)


def _pruned_table(trials: Sequence[FrozenTrial]) -> Table:
    """A row for each evaluation after which trials were stopped."""
    stopped: dict[int, list[FrozenTrial]] = defaultdict(list)
    for trial in trials:
        if trial.state == TrialState.PRUNED:
            stopped[evaluations_of(trial) or max(trial.intermediate_values, default=0)].append(trial)
    titles = ("stopped after evaluation", "trials", "evaluations saved", "time saved", "which")
    rows = []
    for step in sorted(stopped):
        saved = savings(stopped[step])
        cells = (str(step), str(saved.pruned), str(saved.evaluations), f"about {duration(saved.seconds)}")
        rows.append((*cells, listed([trial.number for trial in stopped[step]])))
    return Table(titles, tuple(rows), titles[:4])


def noise_section(material: Material) -> Section:
    """How far apart runs of one recipe lie, and every recipe that has run more than once."""
    title = "Noise"
    known = seed_noise(material.trials)
    if known is None:
        text = "No setting has run twice to its end yet, so nothing is known of the spread from training seed to seed."
        return Section(title, (Text(text),))
    rows = []
    for runs in runs_by_configuration(material.trials).values():
        if len(runs) > 1:
            values = values_of_runs(runs)
            every = ", ".join(
                f"{as_score(value)} (trial {run.number})" for run, value in zip(runs, values, strict=True)
            )
            mean = as_score(sum(values) / len(values))
            rows.append((describe_values(material.values(runs[0])), str(len(runs)), mean, every))
    text = (
        f"Macro F1 differs by {known.describe()}. So much lies between two trainings of one and the same recipe; a"
        " smaller lead of a single run says nothing."
    )
    return Section(title, (Text(text), Table(("setting", "runs", "mean", "each run"), tuple(rows), ("runs", "mean"))))


COST_TITLES = ("device", "trials", "device hours", "mean a trial", "epochs", "photos a second", "most memory")


def cost_section(material: Material) -> Section:
    """Device hours, photos and time per trial, by kind of device."""
    by_device: dict[str, list[FrozenTrial]] = defaultdict(list)
    for trial in material.finished:
        if SECONDS in trial.user_attrs:
            by_device[str(trial.user_attrs.get(DEVICE, "unknown"))].append(trial)
    rows = [_cost_row(device, trials, material) for device, trials in sorted(by_device.items())]
    if not rows:
        return Section("Cost", (Text("No trial has ended yet."),))
    every = [trial for trials in by_device.values() for trial in trials]
    if len(rows) > 1:
        rows.append(_cost_row("all", every, material))
    seconds = sum(trial.user_attrs[SECONDS] for trial in every)
    epochs = epochs_spent(every, _per_epoch(material))
    mean = duration(seconds / len(every))
    text = (
        f"{count_of(len(every), 'trial')} took {seconds / 3600:.2f} device hours, {mean} a trial on average, and"
        f" {epochs:g} epochs{_photos(material, epochs)}.{_uncounted(material, len(every))}"
    )
    return Section("Cost", (Text(text), Table(COST_TITLES, tuple(rows), COST_TITLES[1:])))


def _per_epoch(material: Material) -> int:
    return material.config.evaluations_per_epoch


def _cost_row(device: str, trials: list[FrozenTrial], material: Material) -> tuple[str, ...]:
    facts = [trial.user_attrs for trial in trials]
    seconds = sum(found[SECONDS] for found in facts)
    speed = sum(found.get(PHOTOS_PER_SECOND, 0.0) for found in facts) / len(facts)
    memory = max(found.get(PEAK_GIB, 0.0) for found in facts)
    return (
        device,
        str(len(trials)),
        f"{seconds / 3600:.2f}",
        duration(seconds / len(trials)),
        f"{epochs_spent(trials, _per_epoch(material)):g}",
        f"{speed:,.0f}",
        f"{memory:.1f} GiB",
    )


def _photos(material: Material, epochs: float) -> str:
    """How many photos were trained on; nothing where the table of photos is not at hand any more."""
    count = _training_photos(material)
    return "" if count is None else f", {epochs * count:,.0f} training photos seen ({count:,} an epoch)"


def _training_photos(material: Material) -> int | None:
    from maskcls.data.dataset import read_table
    from search.page.gallery import photo_folder

    folder = photo_folder(material)
    if not folder.is_dir():
        return None
    try:
        table = read_table(folder, material.config, material.stored.label_fixes)
    except UserError:
        return None
    return table.count("train")[1] if table.hash == material.stored.split else None


def _uncounted(material: Material, counted: int) -> str:
    left_out = len(material.finished) - counted
    failed = sum(trial.state == TrialState.FAIL for trial in material.trials)
    more = [f"{count_of(left_out, 'trial')} without a record (diverged)"] if left_out else []
    more += [f"{count_of(failed, 'failed trial')}"] if failed else []
    return f" Not counted: {listed(more)}." if more else ""

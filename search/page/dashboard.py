"""The report in optuna-dashboard: a note, interactive figures, and the two files to download."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna.artifacts import FileSystemArtifactStore, upload_artifact

from maskcls.scoring.condensed import NAME_COLUMNS
from maskcls.scoring.intervals import Estimate
from maskcls.system.console import say
from maskcls.system.errors import UserError
from maskcls.system.printable import shortened
from maskcls.tasks.task import Task
from search.answer.answer import Answer, RoundsAnswer
from search.answer.format import difference_cell, score_cell, verdict_on
from search.database.connect import default_url, load_study, open_storage
from search.database.errors import DatabaseError
from search.findings.notes import show_study
from search.findings.rounds import AT_OWN_BEST
from search.page.answer import confirmed_differences, round_differences
from search.page.classes import class_changes, telling
from search.page.data import Material
from search.page.figures import BLUE, COLOURS, GREY, ORANGE
from search.storage.files import ARTIFACTS, study_artifacts
from search.system.shell import place_options

COLOUR_OF_STATE = {"COMPLETE": BLUE, "PRUNED": ORANGE}
SYMBOLS = {"better": "triangle-up", "worse": "triangle-down"}


def save_figures(material: Material) -> None:
    """Store the figures with the study, in place of those of an older report."""
    from optuna_dashboard import save_plotly_graph_object

    figures = {
        "rounds": _rounds(material.answer.rounds, material.answer.task),
        "own-best": _rounds(material.answer.own, material.answer.task),
        "levels": _levels(material.answer),
        "confirmation": _confirmation(material.answer),
        "curves": _curves(material),
        "classes": _classes(material),
    }
    for name, figure in figures.items():
        if figure is not None:
            save_plotly_graph_object(material.study, figure, graph_object_id=f"report-{name}")


def _rounds(rounds: RoundsAnswer | None, task: Task) -> go.Figure | None:
    looks = round_differences(rounds)
    if rounds is None or not looks:
        return None
    title = f"Difference from {rounds.reference.name}{f', {AT_OWN_BEST}' if rounds.own_best else ''}"
    estimates = {name: look.estimate for name, look in looks.items()}
    axis = f"difference of {task.metric_words}"
    return _differences(estimates, title, axis, [look.verdict for look in looks.values()])


def _levels(answer: Answer) -> go.Figure | None:
    scores = {level.text: level.score for factor in answer.factors for level in factor.levels if level.score}
    if not scores:
        return None
    texts = [f"{name}: {score_cell(score)}" for name, score in scores.items()]
    figure = go.Figure(_dots(scores, texts, [BLUE] * len(scores), ["circle"] * len(scores)))
    return _laid_out(figure, "Each level's best in the search", answer.task.metric_words)


def _confirmation(answer: Answer) -> go.Figure | None:
    reference, differences = confirmed_differences(answer.confirmation)
    title = f"Confirmation: difference from {reference}"
    axis = f"difference of {answer.task.metric_words}"
    return _differences(differences, title, axis) if differences else None


def _classes(material: Material) -> go.Figure | None:
    shown = telling(class_changes(material))
    changes = {escape(shortened(change.name, NAME_COLUMNS)): change.estimate for change in shown}  # plotly obeys tags
    return _differences(changes, "Change from baseline to best trial", "change in F1") if changes else None


def _differences(
    estimates: Mapping[str, Estimate], title: str, axis: str, verdicts: Sequence[str] | None = None
) -> go.Figure:
    """``verdicts``: those of looks; None: what the intervals say."""
    texts = [f"{name}: {difference_cell(estimate)}" for name, estimate in estimates.items()]
    verdicts = [verdict_on(estimate) for estimate in estimates.values()] if verdicts is None else verdicts
    colours = [COLOURS.get(verdict, GREY) for verdict in verdicts]
    symbols = [SYMBOLS.get(verdict, "circle") for verdict in verdicts]
    figure = go.Figure(_dots(estimates, texts, colours, symbols))
    figure.add_vline(x=0, line_color="#333333", line_width=1)
    figure.update_yaxes(type="category")  # else classes named 1, 2, 3 are numbers
    return _laid_out(figure, title, axis)


def _dots(estimates: Mapping[str, Estimate], texts: list[str], colours: list[str], symbols: list[str]) -> go.Scatter:
    return go.Scatter(
        x=[estimate.value for estimate in estimates.values()],
        y=list(estimates),
        error_x={
            "type": "data",
            "array": [estimate.high - estimate.value for estimate in estimates.values()],
            "arrayminus": [estimate.value - estimate.low for estimate in estimates.values()],
            "color": GREY,
        },
        mode="markers",
        marker={"color": colours, "symbol": symbols, "size": 11},
        text=texts,
        hoverinfo="text",
    )


def _curves(material: Material) -> go.Figure | None:
    trials = [trial for trial in material.finished if trial.intermediate_values]
    if not trials:
        return None
    lines = []
    for trial in trials:
        steps = sorted(trial.intermediate_values)
        is_pruned = trial.state == optuna.trial.TrialState.PRUNED
        style: dict[str, Any] = {"color": COLOUR_OF_STATE[trial.state.name], "dash": "dot" if is_pruned else "solid"}
        symbols = ["x" if is_pruned and step == steps[-1] else "circle" for step in steps]
        values = [trial.intermediate_values[step] for step in steps]
        marker = {"symbol": symbols, "size": [8 if symbol == "x" else 3 for symbol in symbols]}
        name = f"trial {trial.number}, {trial.state.name.lower()}"
        lines.append(go.Scatter(x=steps, y=values, name=name, mode="lines+markers", line=style, marker=marker))
    figure = _laid_out(go.Figure(lines), "Learning curves; pruned at ×", "evaluation")
    return figure.update_layout(yaxis={"title": material.stored.task.metric_words, "autorange": True})


def _laid_out(figure: go.Figure, title: str, axis: str) -> go.Figure:
    return figure.update_layout(
        title={"text": title, "x": 0.02, "xanchor": "left", "font": {"size": 16}},
        template="none",  # plotly's own templates are longer than the figure
        showlegend=False,
        margin={"l": 20, "r": 20, "t": 60, "b": 50},
        xaxis={"title": axis, "gridcolor": "#e4e4e4"},
        yaxis={"autorange": "reversed", "automargin": True},
    )


def share(material: Material, *files: Path) -> None:
    """Show the report in the dashboard too, or say why not: the database may be read-only."""
    storage = material.options.storage or default_url(material.options.runs)
    try:
        study = load_study(open_storage(storage, create=False), material.study.study_name)
        show_in_dashboard(replace(material, study=study), *files)
    except (DatabaseError, UserError, OSError) as error:
        say(f"The report was not added to the dashboard: {str(error).rstrip('.')}.")


def show_in_dashboard(material: Material, *files: Path) -> None:
    """Store note, figures and files with the study, in place of those of an older report."""
    place = place_options(material.options.runs, material.options.storage)
    show_study(material.study, material.stored, " ".join(material.answer.sentences), place)
    save_figures(material)
    store = material.options.runs / ARTIFACTS
    store.mkdir(parents=True, exist_ok=True)
    for file in files:
        _upload(material.study, store, file)


def _upload(study: optuna.Study, folder: Path, file: Path) -> None:
    """Store the file as an artifact of the study, over the one of its name: Optuna cannot delete an artifact."""
    store = FileSystemArtifactStore(folder)
    existing = {name: artifact for artifact, name in study_artifacts(study).items()}.get(file.name)
    if existing is None:
        upload_artifact(artifact_store=store, file_path=str(file), study_or_trial=study)
        return
    with file.open("rb") as content:
        store.write(existing, content)

"""The report in optuna-dashboard: a note, figures in which one can point at a value, and the two files to download."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna.artifacts import FileSystemArtifactStore, upload_artifact

from maskcls.scoring.intervals import Estimate
from maskcls.system.console import say
from maskcls.system.errors import UserError
from search.answer.answer import Answer, Confirmation
from search.answer.format import difference_cell, score_cell, verdict_on
from search.answer.notes import show_study
from search.database.connect import default_url, load_study, open_storage
from search.database.errors import DatabaseError
from search.page.classes import class_changes
from search.page.data import Material
from search.page.figures import BLUE, COLOURS, GREY, ORANGE
from search.storage.files import ARTIFACTS, study_artifacts

COLOUR_OF_STATE = {"COMPLETE": BLUE, "PRUNED": ORANGE}
SYMBOLS = {"better": "triangle-up", "worse": "triangle-down"}


def save_figures(material: Material) -> None:
    """Show the figures with the study; those of an older report are replaced."""
    from optuna_dashboard import save_plotly_graph_object

    figures = {
        "levels": _levels(material.answer),
        "confirmation": _confirmation(material.answer.confirmation),
        "curves": _curves(material),
        "classes": _classes(material),
    }
    for name, figure in figures.items():
        if figure is not None:
            save_plotly_graph_object(material.study, figure, graph_object_id=f"report-{name}")


def _levels(answer: Answer) -> go.Figure | None:
    levels = [level for factor in answer.factors for level in factor.levels if level.score is not None]
    if not levels:
        return None
    found = [level.score for level in levels if level.score is not None]
    texts = [f"{level.text}: {score_cell(score)}" for level, score in zip(levels, found, strict=True)]
    figure = go.Figure(
        _dots([level.text for level in levels], found, texts, [BLUE] * len(levels), ["circle"] * len(levels))
    )
    return _laid_out(figure, "Each level at its best", "macro F1")


def _confirmation(confirmation: Confirmation | None) -> go.Figure | None:
    finalists = confirmation.finalists if confirmation else ()
    levels = {one.name: one.against_reference for one in finalists if one.against_reference is not None}
    found = levels or {one.name: one.against for one in finalists if one.against is not None}
    title = f"Confirmation: less {'the reference level' if levels else 'the baseline'}"
    return _differences(found, title, "difference of macro F1") if found else None


def _classes(material: Material) -> go.Figure | None:
    changes = {change.name: change.estimate for change in class_changes(material)}
    return _differences(changes, "Change from baseline to best", "change of F1") if changes else None


def _differences(found: Mapping[str, Estimate], title: str, axis: str) -> go.Figure:
    texts = [f"{name}: {difference_cell(one)}" for name, one in found.items()]
    colours = [COLOURS.get(verdict_on(one), GREY) for one in found.values()]
    symbols = [SYMBOLS.get(verdict_on(one), "circle") for one in found.values()]
    figure = go.Figure(_dots(list(found), list(found.values()), texts, colours, symbols))
    figure.add_vline(x=0, line_color="#333333", line_width=1)
    return _laid_out(figure, title, axis)


def _dots(
    names: Sequence[str], found: Sequence[Estimate], texts: Sequence[str], colours: list[str], symbols: list[str]
) -> go.Scatter:
    return go.Scatter(
        x=[estimate.value for estimate in found],
        y=list(names),
        error_x={
            "type": "data",
            "array": [estimate.high - estimate.value for estimate in found],
            "arrayminus": [estimate.value - estimate.low for estimate in found],
            "color": GREY,
        },
        mode="markers",
        marker={"color": colours, "symbol": symbols, "size": 11},
        text=list(texts),
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
        last = ["x" if is_pruned and step == steps[-1] else "circle" for step in steps]
        values = [trial.intermediate_values[step] for step in steps]
        marker = {"symbol": last, "size": [8 if symbol == "x" else 3 for symbol in last]}
        name = f"trial {trial.number}, {trial.state.name.lower()}"
        lines.append(go.Scatter(x=steps, y=values, name=name, mode="lines+markers", line=style, marker=marker))
    figure = _laid_out(go.Figure(lines), "Learning curves; pruned at ×", "evaluation")
    return figure.update_layout(yaxis={"title": "macro F1", "autorange": True})


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
    """Put the report's files into the dashboard too, or say why not: the database may be one that one only reads."""
    storage = material.options.storage or default_url(material.options.runs)
    try:
        study = load_study(open_storage(storage, create=False), material.study.study_name)
        show_in_dashboard(replace(material, study=study), *files)
    except (DatabaseError, UserError, OSError) as error:
        say(f"The dashboard's copy was left out: {str(error).rstrip('.')}.")


def show_in_dashboard(material: Material, *files: Path) -> None:
    """Put note, figures and files there, in place of what an older report has left."""
    show_study(material.study, material.stored, " ".join(material.answer.sentences))
    save_figures(material)
    store = material.options.runs / ARTIFACTS
    store.mkdir(parents=True, exist_ok=True)
    for file in files:
        _upload(material.study, store, file)


def _upload(study: optuna.Study, folder: Path, file: Path) -> None:
    """Store an artifact of the study. One of this name is written anew: Optuna cannot take an artifact back."""
    store = FileSystemArtifactStore(folder)
    known = {name: found for found, name in study_artifacts(study).items()}.get(file.name)
    if known is None:
        upload_artifact(artifact_store=store, file_path=str(file), study_or_trial=study)
        return
    with file.open("rb") as content:
        store.write(known, content)

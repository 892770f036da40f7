"""What optuna-dashboard shows beside its own plots: notes on the study and its trials, and their pictures."""

from collections.abc import Mapping
from pathlib import Path

import optuna
from optuna.artifacts import FileSystemArtifactStore, upload_artifact

from maskcls.result import Result
from search.live import describe_values
from search.stored import Stored
from search.study import Knob, describe_knob


def show_study(study: optuna.Study, stored: Stored) -> None:
    """The question, and how it is asked."""
    from optuna_dashboard import save_note

    asked = stored.study
    label = "**Synthetic photos: says nothing about faces.**\n\n" if asked.synthetic else ""
    tables = _table("Compared", asked.scientific) + _table("Tuned", asked.nuisance)
    fixed = describe_values({name: value for name, value in asked.fixed.items() if name not in asked.space})
    save_note(
        study,
        f"## {asked.question}\n\n{label}{tables}Baseline (trial 0): {describe_values(asked.baseline)}\n\n"
        f"Fixed: {fixed}\n\nData {stored.data}, split {stored.split}, weights: {stored.weights['source']}.\n",
    )


def _table(role: str, knobs: Mapping[str, Knob]) -> str:
    rows = "".join(f"- {role.lower()}: `{name}` {describe_knob(knob)}\n" for name, knob in knobs.items())
    return f"{rows}\n" if rows else ""


def show_trial(trial: optuna.Trial, result: Result, picture: Path, artifacts: Path) -> None:
    """A trial's scores and its confusion matrix. Before the trial ends, since then it is frozen."""
    from optuna_dashboard import save_note
    from optuna_dashboard.artifact import get_artifact_path

    artifacts.mkdir(parents=True, exist_ok=True)
    store = FileSystemArtifactStore(artifacts)
    artifact = upload_artifact(
        artifact_store=store, file_path=str(picture), study_or_trial=trial, storage=trial.storage
    )
    scores = result.best.scores
    parts = "".join(f"| {part} macro F1 | {value:.4f} |\n" for part, value in scores.f1_per_part.items())
    save_note(
        trial,
        f"Best at evaluation {result.best.step} of {len(result.history)} ({result.num_planned} planned).\n\n"
        f"| | |\n|---|---|\n| macro F1 | {scores.macro_f1:.4f} |\n{parts}| accuracy | {scores.accuracy:.4f} |\n"
        f"| loss | {scores.loss:.4f} |\n\n![confusion matrix]({get_artifact_path(trial, artifact)})\n",
    )

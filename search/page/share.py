"""The report in the dashboard: the note on the study, figures to point at, and the two files to download."""

from pathlib import Path

import optuna
from optuna.artifacts import FileSystemArtifactStore, upload_artifact

from search.answer.notes import show_study
from search.page.dashboard import save_figures
from search.page.data import Material
from search.storage.files import ARTIFACTS, study_artifacts


def share(material: Material, *files: Path) -> None:
    """Put it there, in place of what an older report has left."""
    show_study(material.study, material.stored, " ".join(material.answer.sentences))
    save_figures(material)
    store = material.options.runs / ARTIFACTS
    store.mkdir(parents=True, exist_ok=True)
    for file in files:
        _upload(material.study, store, file)


def _upload(study: optuna.Study, folder: Path, file: Path) -> None:
    """As an artifact of the study. One of this name is written anew: Optuna cannot take an artifact back."""
    store = FileSystemArtifactStore(folder)
    known = {name: found for found, name in study_artifacts(study).items()}.get(file.name)
    if known is None:
        upload_artifact(artifact_store=store, file_path=str(file), study_or_trial=study)
        return
    with file.open("rb") as content:
        store.write(known, content)

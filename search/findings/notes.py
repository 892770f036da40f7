"""Notes on the study and its trials for optuna-dashboard, and the trials' pictures."""

import json
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from uuid import UUID, uuid5

import optuna
from optuna.artifacts import ArtifactMeta

from maskcls.run.result import Result
from maskcls.system.files import write_atomically
from maskcls.tasks.task import METRICS
from search.answer.confirmation import read_confirmation
from search.answer.format import describe_values
from search.answer.markup import markdown
from search.database.optuna_internals import study_id, trial_id
from search.findings.confirmation import confirmed_sentences
from search.findings.final_test import sentences_of_test
from search.findings.rounds import rounds_sentence
from search.policy.history import best_first, best_trial, seed_noise
from search.storage.final_test import read_test
from search.storage.notes import artifact_path, save_study_note, save_trial_note
from search.study.attributes import id_of, judged_by_study
from search.study.domains import Domain, describe_domain
from search.study.record import Stored
from search.study.space import values_of
from search.system.shell import quoted

PICTURES = UUID("6f0c7f0e-43f0-4d1c-9d55-6b2a0a5f5f3a")
"""Name space of the pictures' ids: arbitrary, but no other program's."""


def show_study(study: optuna.Study, stored: Stored, answer: str = "", place: str = "") -> None:
    """Write the study's note: question, ``answer`` so far (plain text, if any), progress, and how it is asked.

    ``place``: the options of the command in it that say where the study is (shell.place_options).
    """
    document = stored.study
    label = "**Synthetic photos: says nothing about faces.**\n\n" if document.synthetic else ""
    answered = f"{markdown(answer)}\n\n" if answer else ""
    tables = _table("Compared", document.scientific) + _table("Tuned", document.nuisance)
    fixed = describe_values({name: value for name, value in document.fixed.items() if name not in document.space})
    save_study_note(
        study,
        f"## {markdown(document.question)}\n\n{label}{answered}{_so_far(study, stored, answer, place)}{tables}"
        f"Baseline{'' if stored.confirmation else ' (trial 0)'}: {markdown(describe_values(document.baseline))}\n\n"
        f"Fixed: {markdown(fixed)}\n\nData {markdown(stored.data)}, split {stored.split},"
        f" weights: {markdown(stored.weights['source'])}.\n",
    )


def _so_far(study: optuna.Study, stored: Stored, answer: str, place: str) -> str:
    """The number of trials, the verdict unless it is in ``answer``, the best trial, the baseline and the noise."""
    trials = study.get_trials(deepcopy=False)
    counts = Counter(trial.state.name.lower() for trial in trials)
    lines = [f"Trials: {', '.join(f'{count} {state}' for state, count in counts.items()) or 'none yet'}"]
    if stored.confirmation is not None:  # each repeat has its own judges, so that no trial is the best
        of = ("a team of " if stored.confirms_team else "") + markdown(stored.confirmation["of"])
        return f"- Confirmation of {of}\n- {lines[0]}\n\n"
    outcome, told = read_confirmation(study), rounds_sentence(study, stored)
    if told is not None and told not in answer:
        lines.append(told)
    elif told is None and outcome is not None:
        lines.append(confirmed_sentences(outcome, stored.task.unit)[0])
    if tested := sentences_of_test(read_test(study), stored.task):
        lines.append(tested)
    trials = judged_by_study(trials)
    best, metric = best_trial(trials), stored.task.metric_words
    if best is not None:
        values = describe_values(values_of(stored.study.space, best.params))
        lines.append(f"Best of the search: trial {best.number}, {metric} {best.value:.4f}: {values}")
    if trials and trials[0].value is not None:
        lines.append(f"Baseline so far: {metric} {trials[0].value:.4f}")
    noise = seed_noise(trials)
    if noise is not None:
        lines.append(f"Noise: {noise.describe()}")
    if len(best_first(trials)) > 1:
        command = f"python -m search.ensemble --study {quoted(study.study_name)} -o team.toml{place}"
        lines.append(f"Several models together often predict better than the best: {command}")
    return "".join(f"- {markdown(line)}\n" for line in lines) + "\n"


def _table(role: str, domains: Mapping[str, Domain]) -> str:
    rows = "".join(f"- {role.lower()}: `{name}` {describe_domain(name, domain)}\n" for name, domain in domains.items())
    return f"{rows}\n" if rows else ""


def picture_id(study: optuna.Study, trial: int) -> str:
    """The id of the artifact that shows a trial's confusion matrix: the same in every database and folder."""
    return str(uuid5(PICTURES, f"{id_of(study) or study.study_name} {trial}"))


def _store_picture(trial: optuna.Trial, picture: Path, artifacts: Path) -> str:
    """Store the picture as an artifact of the trial, and return its id.

    This is optuna.artifacts.upload_artifact, which however makes a new id and a new file at every call.
    """
    study = trial.study
    artifact = picture_id(study, trial.number)
    facts = ArtifactMeta(artifact_id=artifact, filename=picture.name, mimetype="image/png", encoding=None)
    # the attribute before the file, so that search.delete always finds the file
    trial.storage.set_trial_system_attr(trial_id(trial), f"artifacts:{artifact}", json.dumps(asdict(facts)))
    artifacts.mkdir(parents=True, exist_ok=True)
    write_atomically(artifacts / artifact, partial(shutil.copyfile, picture))
    return artifact


def show_trial(trial: optuna.Trial, result: Result, picture: Path, artifacts: Path) -> None:
    """Write a running trial's note: its scores and its confusion matrix. A second call replaces the first one's."""
    artifact = _store_picture(trial, picture, artifacts)
    scores = result.best.scores
    parts = "".join(f"| {part} macro F1 | {value:.4f} |\n" for part, value in scores.f1_per_part.items())
    accuracy = "" if scores.metric == "accuracy" else f"| accuracy | {scores.accuracy:.4f} |\n"
    address = artifact_path(study_id(trial.study), trial_id(trial), artifact)
    save_trial_note(
        trial.study,
        trial_id(trial),
        f"{result.keep.capitalize()} at evaluation {result.best.step} of {len(result.history)}"
        f" ({result.planned_evaluations} planned).\n\n"
        f"| | |\n|---|---|\n| {METRICS[scores.metric]} | {scores.value:.4f} |\n{parts}{accuracy}"
        f"| loss | {scores.loss:.4f} |\n\n![confusion matrix]({address})\n",
    )

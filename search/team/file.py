"""The team that search.export --ensemble wrote to a file, as what search.confirm --ensemble trains again.

Its members, and the single model that it is compared with, are trials of one study: the file says which.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from maskcls.config import make_config, read_config_file
from maskcls.model.ensemble_config import MemberConfig, ensemble_of_file
from maskcls.scoring.metrics import SCORE_TOLERANCE
from maskcls.system.errors import UserError
from search.policy.confirmation import Plan, PlannedFinalist
from search.study.attributes import CONFIG, ORIGIN
from search.study.record import Stored
from search.system.shell import quoted

IDENTITY = ("study", "study_id", "trial")
"""What [member.origin] has in common with the origin that the trial itself was stored with."""


def plan_of_file(path: Path, study: optuna.Study, stored: Stored, repeats: int, place: str = "") -> Plan:
    """The plan to train the members in the file, and the best single model that it names, each once in every repeat.

    ``place``: the options of a printed command that say where the study is (connect.place_of). Raises UserError for a
    file without members, for members or a single model that are not trials of the study as they were trained, and for a
    team of the single model alone.
    """
    ensemble = ensemble_of_file(path, read_config_file(path))
    if ensemble is None:
        raise UserError(
            f"{path} configures one model, and --ensemble takes a team: write one by"
            f" {_export(study.study_name, place)}."
        )
    trials = {trial.number: trial for trial in study.get_trials(deepcopy=False)}
    weight_of: dict[int, float] = {}
    for position, member in enumerate(ensemble.members, start=1):
        number = _trial_of(member, f"{path}, member {position}", study.study_name, trials, place)
        weight_of[number] = weight_of.get(number, 0) + member.weight
    single = _single(path, ensemble.origin, study.study_name, stored.task.metric, trials, place)
    numbers = [single, *(number for number in weight_of if number != single)]
    if len(numbers) == 1:
        raise UserError(
            f"{path}: the team is trial {single} alone, which is the best single model too, so nothing is compared."
            " Write a team of more models."
        )
    finalists = tuple(PlannedFinalist(f"trial {number}", dict(trials[number].params), (number,)) for number in numbers)
    weights = tuple(weight_of.get(number, 0) for number in numbers)
    return Plan(study.study_name, finalists, 0, repeats, weights)


def _export(name: str, place: str) -> str:
    return f"`python -m search.export --study {quoted(name)} --ensemble -o team.toml{place}`"


def _trial_of(member: MemberConfig, where: str, name: str, trials: Mapping[int, FrozenTrial], place: str) -> int:
    """The number of the trial that is the member. Raises UserError when it is none of the study, or was changed."""
    number = member.origin.get("trial")
    trial = trials.get(number) if isinstance(number, int) else None
    if trial is None or not _is_origin_of(member.origin, trial):
        said = f"trial {number} of {member.origin.get('study')}" if number is not None else "no trial"
        raise UserError(
            f"{where} is no trial of study {name!r} (its origin names {said}), and a team is confirmed in its own"
            f" study: write one by {_export(name, place)}."
        )
    trained = make_config(trial.user_attrs[CONFIG])
    for hyperparameter, ours in member.config:
        theirs = getattr(trained, hyperparameter)
        if ours != theirs:
            raise UserError(
                f"{where}: {hyperparameter} is {ours} here and {theirs} in trial {trial.number} of {name!r}, which is"
                " what would be trained. Leave the file as search.export wrote it."
            )
    return trial.number


def _is_origin_of(origin: Mapping[str, Any], trial: FrozenTrial) -> bool:
    """Whether [member.origin] is that of the trial, whatever its study or the study's copy is called today."""
    known = trial.user_attrs.get(ORIGIN)
    if not known or CONFIG not in trial.user_attrs or trial.value is None:
        return False
    return origin.get("value") == trial.value and all(origin.get(name) == known.get(name) for name in IDENTITY)


def _single(
    path: Path, origin: Mapping[str, Any], name: str, metric: str, trials: Mapping[int, FrozenTrial], place: str
) -> int:
    """The number of the best single model, which [origin] names. Raises UserError when it is no trial of the study."""
    facts = origin.get("single")
    facts = facts if isinstance(facts, dict) else {}
    number, score = facts.get("trial"), facts.get(metric)
    score = score if isinstance(score, float) else None
    trial = trials.get(number) if isinstance(number, int) else None
    value = None if trial is None else trial.value
    if trial is not None and value is not None and score is not None and abs(value - score) <= SCORE_TOLERANCE:
        return trial.number
    raise UserError(
        f"{path}: its table [origin] does not name the best single model of study {name!r}, which the team is compared"
        f" with: write a team by {_export(name, place)}."
    )

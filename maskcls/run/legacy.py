"""Legacy run folders: history.json is a list without stamps, and resume.pt holds the run's identity and history.

All are of the mask task, the only one of their time.
"""

from dataclasses import replace
from pathlib import Path

from maskcls.config import ResolvedConfig, identity_of
from maskcls.labels import LabelSpace
from maskcls.run.record import PREDICTIONS, STATE, WEIGHTS, Record, UnusableRunError, stamp_of
from maskcls.run.result import Evaluation, Result
from maskcls.run.serialize import read_state_file
from maskcls.scoring.metrics import SCORE_TOLERANCE, score
from maskcls.scoring.predictions import Predictions
from maskcls.tasks.mask import MASK_TASK


def upgrade_record(
    folder: Path, record: Record, config: ResolvedConfig, data: str, device: str, planned_evaluations: int
) -> Record:
    """A legacy record with the stamps of its files. ``data``: the dataset's identity.

    Raises UnusableRunError unless the files all come from one evaluation of this run: a process that was killed while
    it wrote them left a mixture.
    """
    evaluations, files = record.evaluations, [WEIGHTS, PREDICTIONS]
    if (folder / STATE).exists():
        evaluations, files = _evaluations_of_state(folder, config, data, device), [*files, STATE]
    elif len(evaluations) != planned_evaluations:
        raise UnusableRunError(f"its {STATE} is missing")
    best = Result(evaluations, planned_evaluations, config.keep).best
    _check_predictions(folder / PREDICTIONS, best, MASK_TASK.predicted(config))
    try:
        stamps = {name: stamp_of((folder / name).read_bytes(), best.step) for name in files}
    except FileNotFoundError:
        raise UnusableRunError(f"its {WEIGHTS} is missing") from None
    return replace(record, planned_evaluations=planned_evaluations, evaluations=evaluations, files=stamps)


def _evaluations_of_state(folder: Path, config: ResolvedConfig, data: str, device: str) -> tuple[Evaluation, ...]:
    """The evaluations that led to the state. It was written last, so a newer file is of a later evaluation."""
    state = read_state_file(folder / STATE)
    expected = {"config": identity_of(config, device), "data": data, "device": device}
    if state.get("of") != expected or "history" not in state:
        raise UnusableRunError("it has another config, dataset or device")
    newer = [name for name in (WEIGHTS, PREDICTIONS) if _modified_ns(folder / name) > _modified_ns(folder / STATE)]
    if newer:
        raise UnusableRunError(f"its {newer[0]} comes from a later evaluation than its {STATE}")
    return tuple(map(Evaluation.from_dict, state["history"]))


def _modified_ns(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _check_predictions(path: Path, best: Evaluation, space: LabelSpace) -> None:
    """Raise UnusableRunError unless the stored predictions have the best evaluation's score."""
    try:
        predictions = Predictions.load(path)
        value = score(predictions.log_prob_NK, predictions.label_N, space).value
    except Exception as error:  # numpy and zipfile each raise their own
        raise UnusableRunError(f"its {PREDICTIONS} cannot be read") from error
    if abs(value - best.scores.value) > SCORE_TOLERANCE:
        raise UnusableRunError(f"its {PREDICTIONS} does not come from evaluation {best.step}")

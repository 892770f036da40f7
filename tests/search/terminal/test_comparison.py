"""search.compare with many classes: the ends of the list, said so, with short names."""

import numpy as np
import pytest

from maskcls.labels import Factor, LabelSpace
from maskcls.scoring.predictions import Predictions
from maskcls.scoring.resampling import resample
from search.findings.models import ComparedModel
from search.terminal.comparison import _show_classes


def model(space: LabelSpace, label_N: np.ndarray, said_N: np.ndarray) -> ComparedModel:
    name_N = np.array([f"{row:05d}" for row in range(len(label_N))])
    log_prob_NK = np.log(0.9 * np.eye(space.num_classes)[said_N] + 0.1 / space.num_classes).astype(np.float32)
    return ComparedModel("a", space, Predictions(name_N, name_N, label_N, log_prob_NK), "a", {})


def test_of_many_classes_that_differ_the_ends_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    names = tuple(f"{number:03d} {'long ' * 50}" for number in range(100))
    space, rng = LabelSpace((Factor("kind", names),)), np.random.default_rng(0)
    label_N = np.repeat(np.arange(100), 40)
    wrong_N = np.where(rng.random(4000) < 0.1 + 0.008 * label_N, (label_N + 1) % 100, label_N)
    models = model(space, label_N, label_N), model(space, label_N, wrong_N)
    _show_classes(*models, resample(models[0].counts(), resamples=300))
    lines = capsys.readouterr().out.splitlines()
    shown = [line for line in lines if line.startswith("  ")]
    assert len(shown) == 40
    assert max(map(len, lines)) < 140
    assert any(line.endswith("the 20 most in favour of A and the 20 most in favour of B:") for line in lines)
    values = [float(line[62:].split()[0]) for line in shown]
    assert values == sorted(values)
    assert lines[-1].startswith("The other ")

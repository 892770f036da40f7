"""maskcls.evaluate with many classes: the best and the worst of those with photos, said so."""

import numpy as np
import pytest

from maskcls.evaluate import _print_scores
from maskcls.labels import Factor, LabelSpace
from maskcls.scoring.metrics import score
from maskcls.scoring.predictions import Predictions
from maskcls.tasks.task import Source, Task


@pytest.mark.parametrize(("classes", "present", "shown"), [(500, 450, 40), (500, 30, 30), (40, 30, 40)])
def test_the_list_of_classes_is_capped(
    classes: int, present: int, shown: int, capsys: pytest.CaptureFixture[str]
) -> None:
    space = LabelSpace((Factor("kind", tuple(f"kind {number}" for number in range(classes))),))
    rng = np.random.default_rng(0)
    label_N = np.repeat(np.arange(present), 4)
    said_N = np.where(rng.random(len(label_N)) < 0.6, label_N, rng.integers(classes, size=len(label_N)))
    name_N = label_N.astype(str)
    predictions = Predictions(name_N, name_N, label_N, np.log(np.eye(classes)[said_N] + 0.01).astype(np.float32))
    _print_scores(predictions, Task("many", space, Source("folders")), space)
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines if line.startswith("  ")]
    assert len(rows) == shown
    found = np.array([float(row[3]) for row in rows])
    f1_K = np.array(score(predictions.log_prob_NK, label_N, space).f1_per_class)
    if present > 40:
        assert lines[0] == f"Of {present} classes the 20 best and the 20 worst are shown, by F1:"
        ordered = np.sort(f1_K[:present])[::-1]
        assert found == pytest.approx(np.concatenate([ordered[:20], ordered[-20:]]), abs=6e-5)
    else:
        assert found == pytest.approx(f1_K[:shown], abs=6e-5)
    assert f"NO PHOTO OF: kind {present}" in "\n".join(lines)

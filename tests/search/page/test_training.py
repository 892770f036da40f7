"""What a report draws of a study with very many trials."""

import pytest

import search.page.training
from search.page.figures import Curve


def test_of_very_many_curves_one_in_so_many_is_drawn_and_the_best_and_the_baseline_always(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search.page.training, "MAX_CURVES", 4)
    kinds = ["complete", "baseline", "pruned", "complete", "pruned", "best", "complete", "complete", "pruned"]
    curves = [Curve({1: number / 10}, kind) for number, kind in enumerate(kinds)]
    assert search.page.training._thinned(curves[:4]) == curves[:4]
    assert search.page.training._thinned(curves) == [curves[number] for number in (0, 1, 3, 5, 6)]

"""The error rate of repeated looks at growing data, shared out over the looks.

Lan and DeMets 1983, https://doi.org/10.1093/biomet/70.3.659, with little of it early, as O'Brien and Fleming do, 1979,
https://doi.org/10.2307/2530245.
"""

import numpy as np
from scipy.special import ndtr, ndtri

from maskcls.scoring.counts import Floats


class Spending:
    """The error rate that the looks at one growing comparison may spend, shared out over them.

    By share t of the budget 4 - 4 Phi(z / sqrt(t)) has been spent, z the normal quantile of 1 - alpha / 4, half on each
    side. A look that is critical at the normal quantile 1 - level / 2 is critical for t at its own degrees of freedom
    (Jennison and Turnbull 2000, Group Sequential Methods).
    """

    def __init__(self, alpha: float) -> None:
        self._alpha, self._left = alpha, alpha
        self._spent, self._information = 0.0, 0.0
        self._in_horizon, self._horizon_alpha = 0.0, 0.0
        self._grid = np.linspace(-8.0, 8.0, 321)
        self._density: Floats | None = None
        """Density of the standardised difference, where no look has been critical."""

    def begin(self, part: float) -> None:
        """Begin a horizon that may spend this part of what is left."""
        self._in_horizon, self._horizon_alpha = 0.0, part * self._left
        self._left -= self._horizon_alpha

    def level(self, share: float, information: float) -> float:
        """The two-sided level of the next look. ``share``: of the horizon's budget; ``information``: 1 / variance."""
        if not self._horizon_alpha:
            self.begin(1.0)
        target = float(4 - 4 * ndtr(ndtri(1 - self._horizon_alpha / 4) / np.sqrt(min(1.0, max(share, 1e-3)))))
        spend, self._in_horizon = max(1e-9, target - self._in_horizon), max(target, self._in_horizon)
        grid = self._grid
        step = grid[1] - grid[0]
        if self._density is None:
            density = _normal(grid)
        else:  # what was known at the look before is a part of what is known now
            part = min(0.98, self._information / information)
            moved = (grid[:, None] - grid[None] * np.sqrt(part)) / np.sqrt(1 - part)
            density = _normal(moved) @ self._density * (step / np.sqrt(1 - part))
        positive = grid > step / 2
        both = (density + density[::-1])[positive]
        beyond = np.cumsum(both[::-1])[::-1] * step - 0.5 * step * both  # P(no look critical before, |z| >= grid)
        critical = float(np.exp(np.interp(-np.log(spend), -np.log(np.maximum(beyond, 1e-15)), np.log(grid[positive]))))
        self._density = density * np.clip((critical - np.abs(grid)) / step + 0.5, 0.0, 1.0)
        self._information = information
        return float(max(1e-12, 2 - 2 * ndtr(critical)))


def _normal(z: Floats) -> Floats:
    return np.asarray(np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))

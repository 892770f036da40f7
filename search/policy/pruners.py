"""The pruner that a study's file asks for."""

from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
)

from maskcls.system.errors import UserError, nearest, one_line
from search.policy.pruning import Pruning
from search.study.study import Pruner

OPTUNAS: dict[str, type[BasePruner]] = {
    "none": NopPruner,
    "median": MedianPruner,
    "percentile": PercentilePruner,
    "halving": SuccessiveHalvingPruner,
    "hyperband": HyperbandPruner,
}
"""They compare a trial with all others, whatever its level."""

OWN = "rungs"


def make_pruner(asked: Pruner) -> Pruning | BasePruner:
    """Ours, or one of Optuna's. Raises UserError for an unknown name or argument."""
    known = [OWN, *OPTUNAS]
    if asked.name not in known:
        raise UserError(f"No pruner named {asked.name!r}.{nearest(asked.name, known)} There are: {', '.join(known)}.")
    try:
        return Pruning(**asked.arguments) if asked.name == OWN else OPTUNAS[asked.name](**asked.arguments)
    except (TypeError, ValueError) as error:
        raise UserError(f"Pruner {asked.name} cannot be made with {asked.arguments}: {one_line(error)}.") from error

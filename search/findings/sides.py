"""What a look says of one side of a comparison, in words."""

from maskcls.scoring.counts import MIN_JUDGES
from maskcls.scoring.rounds import BETTER, NO_DIFFERENCE, NO_VERDICT, OPEN, LevelLook
from maskcls.tasks.task import Unit
from search.answer.answer import Side
from search.answer.format import signed_spread, trials_named

NO_ANSWER = "no answer yet"
"""The verdict while nothing is known."""


def says_something(look: LevelLook) -> bool:
    """Whether it is a verdict, or its interval excludes any difference that scores can have."""
    return look.verdict != OPEN or look.bound < 1


def one_side(name: str, look: LevelLook, reference: str) -> str:
    """What the look says of the only side ``name`` besides the reference, as a clause."""
    if not says_something(look):
        return f"the trainings are too few to say how {name} and {reference} differ"
    interval = f"95 % interval {signed_spread(look.estimate, 3)}"
    if look.verdict == OPEN:
        return f"{name} lies between {-look.low:.3f} worse and {look.high:.3f} better than {reference}"
    if look.verdict == NO_DIFFERENCE:
        return f"between {name} and {reference} it is below {look.bound:.3f} either way"
    place = "above" if look.verdict == BETTER else "below"
    return f"{name} scores {abs(look.value):.3f} {place} {reference} ({interval})"


def beside_others(look: LevelLook) -> str:
    """What the look says of one side of several, to follow its name."""
    if not says_something(look):
        return "has too few trainings to say"
    if look.verdict == NO_VERDICT:
        return f"has no verdict, as fewer than {MIN_JUDGES} judged a round"
    if look.verdict == OPEN:
        return f"is open ({-look.low:.3f} worse to {look.high:.3f} better)"
    if look.verdict == NO_DIFFERENCE:
        return f"makes no difference that matters (below {look.bound:.3f} either way)"
    return f"is {look.verdict} (by {abs(look.value):.3f}, 95 % interval {signed_spread(look.estimate, 3)})"


def side_verdict(side: Side, is_reference: bool) -> str:
    """The verdict's cell in a table of sides."""
    if is_reference:
        return "reference"
    if side.look is None:
        return f"not compared: diverged in {trials_named(side.diverged)}" if side.diverged else NO_ANSWER
    return side.look.verdict if says_something(side.look) else NO_ANSWER


def called(name: str) -> str:
    """The side's name in a sentence."""
    return "the baseline" if name == "baseline" else name


def too_few_judged(unit: Unit, what: str = "a round") -> str:
    """Why there is no verdict, and what would help. ``what``: they judged."""
    return (
        f"fewer than {MIN_JUDGES} {unit.many} judged {what}, too few to tell a difference from chance."
        f" Add {unit.many}, or begin a new study where more of them judge (a larger valid_share)."
    )

"""The report's section on trials that predict together, and what that gains over the best one alone."""

from maskcls.scoring.greedy import MIN_RESAMPLES, seconds_of
from maskcls.system.errors import UserError
from maskcls.system.options import ENSEMBLE_SIZE
from search.answer.candidates import Candidate, find_trained
from search.answer.ensembles import Ensemble, choose_members
from search.answer.format import as_score, capital, describe_values, difference_cell, score_cell
from search.page.blocks import Block, Code, Facts, Figure, Section, Table, Text
from search.page.data import Material
from search.page.figures import Dot, draw_dots
from search.study.space import values_of
from search.system.shell import place_options, quoted

SECONDS = 1.0
"""That the report may spend on finding an ensemble; where it takes longer, it says by which command it is found."""


def together_section(material: Material) -> Section | None:
    """The members of the best ensemble, its gain, its cost and its command; None where no two models make one."""
    try:
        trained = find_trained(material.study, material.options.runs, needs_weights=False)
    except UserError:  # no trial is complete, or none has its predictions here
        return None
    if len(trained) < 2:
        return None
    where = place_options(material.options.runs, material.options.storage)
    command = Code(f"python -m search.ensemble --study {quoted(material.study.study_name)} -o team.toml{where}")
    seconds = MIN_RESAMPLES * seconds_of(trained[0].predictions.log_prob_NK.size, ENSEMBLE_SIZE, len(trained))
    if seconds > SECONDS:
        text = f"Trials that predict together are often better than the best alone. To find them takes {seconds:.0f} s"
        blocks: tuple[Block, ...] = (Text(f"{text} or more, so it is left to this command:"), command)
        return Section("Several models together", blocks)
    found = choose_members(trained, ENSEMBLE_SIZE, needs_weights=False, seconds=SECONDS)
    if len(found.members) == 1:
        return None
    return Section("Several models together", (*_blocks(found), command))


def _blocks(found: Ensemble) -> tuple[Block, ...]:
    task = found.model.stored.task
    text = (
        "The models that predict best together, by the weighted mean of their probabilities. They were chosen among the"
        f" complete trials by the {task.unit.many} {task.unit.who} judged the search. The gain over the best single"
        " trial is corrected for that choice; it is one of trained models, not of recipes. The command joins those"
        " whose weights are kept here."
    )
    facts = (
        ("all together", score_cell(found.best.score)),
        ("best single trial", f"{score_cell(found.single.score)} (trial {found.model.trial.number})"),
        ("gain, corrected", f"{difference_cell(found.gain.corrected)}: {found.gain.corrected.verdict}"),
        ("cost", found.cost_words),
    )
    return Text(text), _figure(found), _table(found), Facts(facts)


def _figure(found: Ensemble) -> Figure:
    metric, gain = found.model.stored.task.metric_words, found.gain
    cells = f"as measured {difference_cell(gain.measured)}; once corrected {difference_cell(gain.corrected)}"
    return draw_dots(
        "together",
        [Dot("as measured", gain.measured), Dot("once corrected", gain.corrected, gain.corrected.verdict)],
        f"gain in {metric} over the best single trial",
        f"Gain in {metric} of several models together over the best single trial, with its 95 % interval: {cells}.",
        f"{capital(metric)} of all together less that of the best single trial, with its 95 % interval. Triangle up:"
        " better. Triangle down: worse.",
        zero=True,
    )


def _table(found: Ensemble) -> Table:
    titles = ("member", "weight", found.model.stored.task.metric_words, "configuration")
    total = sum(member.weight for member in found.members)
    rows = tuple(_row(member.model, f"{100 * member.weight / total:.0f} %") for member in found.members)
    return Table(titles, rows, titles[1:3])


def _row(model: Candidate, weight: str) -> tuple[str, ...]:
    values = describe_values(values_of(model.stored.study.space, model.trial.params))
    return f"trial {model.trial.number}", weight, as_score(model.score(model.part)), values

"""python -m search.export: the confirmed winner, or the best trial, as a config that maskcls.train trains again."""

from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskcls.config import config_to_toml, make_config
from maskcls.system.console import run_command, say
from maskcls.system.errors import UserError
from maskcls.system.outputs import check_output, is_own_output, telling_beside, write_output_text
from search.system.storage_url import StorageOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    import optuna
    from optuna.trial import FrozenTrial

    from search.answer.answer import Confirmation
    from search.study.record import Stored


def main(
    study: Annotated[str, typer.Option(help="The study's stored name.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="TOML file to write.")],
    trial: Annotated[
        int | None, typer.Option(min=0, help="This trial instead of the confirmed winner or the best.")
    ] = None,
    storage: StorageOption = None,
    runs: Annotated[Path, typer.Option(help="Folder of the studies.")] = Path("runs"),
) -> None:
    """Write a training config, and where it came from, to a file: of the confirmed winner, else of the best trial."""
    from optuna.trial import TrialState

    from search.answer.confirmation import read_confirmation
    from search.database.connect import default_url, load_study, open_to_read
    from search.study.attributes import CONFIG, ORIGIN
    from search.study.record import read_search, read_stored

    check_output(out)
    stored_study = load_study(open_to_read(storage or default_url(runs)), study)
    stored = read_search(stored_study) if trial is None else read_stored(stored_study)
    trials = stored_study.get_trials(deepcopy=False)
    outcome = read_confirmation(stored_study) if trial is None else None
    asked_for = next((found for found in trials if found.number == trial), None)
    best = _best(trials, outcome) if trial is None else asked_for
    if best is None or best.state not in (TrialState.COMPLETE, TrialState.PRUNED) or CONFIG not in best.user_attrs:
        which = "complete trial" if trial is None else f"finished trial {trial}"
        raise UserError(f"Study {study} has no {which} to export.")
    _check_files(stored_study, best, runs)
    config = make_config(best.user_attrs[CONFIG])
    origin = {**best.user_attrs[ORIGIN], "value": best.value, "state": best.state.name.lower()}
    if stored.weights.get("source") == "scratch":
        origin["weights_option"] = "scratch"  # auto may find elsewhere what it did not find here
    split = origin.get("split", stored.split)
    facts, words = _confirmed(outcome)
    write_output_text(out, config_to_toml(config, {**origin, **facts}))
    with telling_beside(out):
        say(f"{out}: trial {best.number} of {study}, macro F1 {best.value!r}, seed {config.seed}, split {split}{words}")
        if out.is_file() and not is_own_output(out):
            _say_next(stored, out, runs)


def _say_next(stored: "Stored", out: Path, runs: Path) -> None:
    """How the trial is trained again."""
    from search.system.shell import quoted, runs_words

    asked = f" --label-fixes {quoted(stored.label_fixes)}" if stored.label_fixes != "auto" else ""
    asked += (" --skip-unreadable" if stored.skip_unreadable else "") + runs_words(runs)
    place = f"--data {quoted(stored.data)} -o {quoted(runs / 'best')}"
    say(f"Next: python -m maskcls.train --config {quoted(out)} {place}{asked}")


def _best(trials: "Sequence[FrozenTrial]", outcome: "Confirmation | None") -> "FrozenTrial | None":
    """The best run of the confirmed winner's setting; without a confirmation the best trial."""
    from search.policy.history import best_trials

    if outcome is None:
        return next(iter(best_trials(trials, 1)), None)
    winner = outcome.finalists[outcome.winner]
    best = next(iter(best_trials([trial for trial in trials if trial.number in winner.trials], 1)), None)
    if best is None:
        raise UserError(
            f"The confirmation's best mean is that of {winner.name}, which has no complete trial in the search to"
            f" export; train a config.toml of its trials in {outcome.study}, or name another by --trial."
        )
    return best


def _check_files(study: "optuna.Study", best: "FrozenTrial", runs: Path) -> None:
    """Raise UserError when the trial's folder says another value than the database: one of them is not the trial's."""
    from search.storage.folder import study_folder
    from search.storage.predictions import shelf_of

    shelf = shelf_of(study, study_folder(study, runs))
    if shelf.predictions(best) is None and best.number in shelf.foreign:
        raise UserError(f"{shelf.why_not(best)}. Give the --runs folder where the study ran, or another --trial.")


def _confirmed(outcome: "Confirmation | None") -> "tuple[dict[str, Any], str]":
    """What the confirmation says of its winner: for [origin], and for the terminal."""
    if outcome is None:
        return {}, ""
    winner = outcome.finalists[outcome.winner]
    mean, repeats = fmean(winner.scores), outcome.repeats
    verdict = winner.against.verdict if winner.against is not None else ""
    versus = {"better": ", better than the baseline", "": ""}.get(verdict, f", {verdict} from the baseline")
    facts = {"confirmed_by": outcome.study, "confirmed_mean": mean, "confirmed_repeats": repeats}
    what = (
        "the baseline, which no finalist beat" if outcome.winner == 0 else f"{winner.name}, the best of the finalists"
    )
    return facts, f"; {what} over {repeats} repeats of {outcome.study}: mean F1 {mean:.4f}{versus}"


if __name__ == "__main__":
    run_command(main)

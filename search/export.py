"""python -m search.export: the best trial as a config that maskcls.train trains again."""

from pathlib import Path
from typing import Annotated

import typer

from maskcls.cli import run_command, say
from maskcls.config import make_config, save_config
from maskcls.errors import UserError


def main(
    study: Annotated[str, typer.Option(help="The study's stored name.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="TOML file to write.")],
    trial: Annotated[int | None, typer.Option(min=0, help="This trial instead of the best.")] = None,
    storage: Annotated[
        str | None, typer.Option(help="Optuna storage URL. Default: studies.db in the --runs folder.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of the studies.")] = Path("runs"),
) -> None:
    """Write the best trial's training config, and where it came from, to a file."""
    from optuna.trial import TrialState

    from search.keep import best_trials
    from search.storage import default_url, load_study, open_storage
    from search.stored import read_stored

    stored_study = load_study(open_storage(storage or default_url(runs), create=False), study)
    stored = read_stored(stored_study)
    best = next(iter(best_trials(stored_study.get_trials(deepcopy=False), 1)), None)
    if trial is not None:
        best = next((found for found in stored_study.get_trials(deepcopy=False) if found.number == trial), None)
    if best is None or best.state not in (TrialState.COMPLETE, TrialState.PRUNED) or "config" not in best.user_attrs:
        which = "complete trial" if trial is None else f"finished trial {trial}"
        raise UserError(f"Study {study} has no {which} to export.")
    if not out.parent.is_dir():
        raise UserError(f"There is no folder {out.parent} to write {out.name} into.")
    config = make_config(best.user_attrs["config"])
    save_config(out, config, {**best.user_attrs["origin"], "value": best.value, "state": best.state.name.lower()})
    say(f"{out}: trial {best.number} of {study}, macro F1 {best.value!r}, seed {config.seed}, split {stored.split}")
    asked = f" --label-fixes {stored.label_fixes}" if stored.label_fixes != "auto" else ""
    asked += " --skip-unreadable" if stored.skip_unreadable else ""
    asked += f" --runs {runs}" if runs != Path("runs") else ""
    say(f"Next: python -m maskcls.train --config {out} --data {stored.data} -o {runs}/best{asked}")


if __name__ == "__main__":
    run_command(main)

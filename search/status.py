"""python -m search.status: which studies there are, how far they are, and who runs what where since when.

It only reads, imports neither torch nor timm, and never disturbs a run.

``--json`` prints one document. Times are ISO 8601 with their offset, values are macro F1, and null stands for what
there is none of. Without --study ``{"storage", "studies": [...]}``, each study with

- ``name``, ``question`` (null: not made by search.run), ``last_event`` (when a trial last began, ended or failed);
- ``confirms``: the study that this one is the confirmation of (search.confirm); null for a search. A confirmation has
  no best, baseline, incumbent or noise: each repeat has other judges;
- ``trials``: {``complete``, ``pruned``, ``running``, ``waiting``, ``failed``}; ``gone``: how many of those running
  have no process any more (the next search.run takes them up);
- ``best``: {``trial``, ``value``}.

With --study that study's document alone, with ``storage`` and all of these keys and

- ``synthetic``, ``data``, ``epochs`` (spent, over all trials), ``interruptions`` (processes stopped or died);
- ``best``, ``baseline`` and ``incumbent``: {``trial``, ``value``, ``state``, ``values`` of the knobs}, the latter two
  also with ``runs`` (the complete trials of that setting) and their ``mean``. The incumbent has the best mean;
- ``confirmed``: the verdict of its confirmation, a sentence;
- ``noise``: {``deviation``, ``repeated_runs``}; ``trials_since_best``: trials since the last one that was better by
  more than that;
- ``running``: [{``trial``, ``host``, ``pid``, ``slot``, ``since``, ``worker_since``, ``evaluation`` (0: none yet),
  ``evaluations`` (planned), ``value`` (best so far), ``gone``}];
- ``failures``: [{``kind``, ``count``, ``trials``, ``last_error``, ``last_trial``, ``last_when``}]; a trial that
  failed and was tried again counts every time.
"""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskcls.system.console import run_command, say
from search.system.storage_url import shown_url
from search.terminal.options import RUNS, RunsOption, StorageOption

if TYPE_CHECKING:
    from optuna.storages import RDBStorage


def main(
    study: Annotated[str | None, typer.Option(help="The study's stored name. Default: a table of all.")] = None,
    storage: StorageOption = None,
    runs: RunsOption = RUNS,
    json_: Annotated[bool, typer.Option("--json", help="One JSON document, for scripts.")] = False,
) -> None:
    """Show the studies, or one study: trials, best, noise, who runs what where, what failed."""
    from search.database.connect import default_url, open_to_read
    from search.terminal.status import show_overview, show_standing

    opened = open_to_read(storage or default_url(runs))
    found = _overview(opened) if study is None else _standing(opened, study)
    if json_:
        say(json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False))
    elif study is None:
        show_overview(found)
    else:
        show_standing(found)


def _overview(storage: "RDBStorage") -> dict[str, Any]:
    """All studies, the one where something happened last at the end: that is where a terminal leaves the eye."""
    import optuna

    from search.answer.status import overview_of
    from search.database.connect import load_study

    found = [overview_of(load_study(storage, name)) for name in optuna.get_all_study_names(storage)]
    return {"storage": shown_url(storage.url), "studies": sorted(found, key=lambda study: study["last_event"] or "")}


def _standing(storage: "RDBStorage", name: str) -> dict[str, Any]:
    from search.answer.status import standing_of
    from search.database.connect import load_study
    from search.study.record import read_stored

    study = load_study(storage, name)
    return {"storage": shown_url(storage.url), **standing_of(study, read_stored(study))}


if __name__ == "__main__":
    run_command(main)

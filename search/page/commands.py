"""The report's section on how to reproduce a study: its commands with their options, and its versions."""

from typing import Any

from maskcls.config import make_config
from maskcls.data.dataset import SYNTHETIC
from search.page.blocks import Code, Facts, Section, Text
from search.page.data import Material
from search.policy.stopping import count_finished
from search.study.attributes import COMMIT, GROWN_FROM, LIMITS, MORE_ROUNDS, VERSIONS, is_own_best
from search.study.loading import PREVIEW, find_study_file
from search.study.request import limits_options, options_of, photo_options
from search.study.study import Study
from search.system.shell import cache_option, place_options, quoted, runs_option, storage_option


def commands_section(material: Material) -> Section:
    """How to run the study and train its best trial again: commands, versions, commit."""
    name, where = material.study.study_name, place_options(material.options.runs, material.options.storage)
    data, runs = material.stored.data, material.options.runs
    train = f"python -m maskcls.train --config best.toml --data {quoted(data)} -o {quoted(runs / 'best')}"
    train += _photo_options(material) + _cache(material) + runs_option(runs)
    export = f"python -m search.export --study {quoted(name)} -o best.toml{where}"
    lines = [line for line in (run_command_of(material), _confirm_command(material, where), export, train) if line]
    blocks = Code("\n".join(lines)), Text(_note(material)), Facts(tuple(_facts(material)))
    return Section("How to reproduce it", blocks)


def _confirm_command(material: Material, where: str) -> str:
    """The command of the study's confirmation, or of its rounds with each level at its own best; empty without any."""
    confirmation, own = material.answer.confirmation, material.answer.own
    where = _cache(material) + where
    if own is not None:
        options = f"--own-best --repeats {max(2, len(own.rounds))}"
        return f"python -m search.confirm --study {quoted(material.study.study_name)} {options}{where}"
    if confirmation is None:
        return ""
    options = f"--top {len(confirmation.finalists) - 1} --repeats {confirmation.planned}"
    return f"python -m search.confirm --study {quoted(material.study.study_name)} {options}{where}"


def _note(material: Material) -> str:
    note = (
        "The first command continues the study, or runs it anew where it is not stored: trial for trial the same with"
        " one worker on a CPU of the same type and thread count. The last two train the best trial again."
    )
    if MORE_ROUNDS in material.study.user_attrs:
        note += (
            " Some of its rounds were added by search.confirm: one run of as many trials has more rounds and less of a"
            " search."
        )
    if hint := storage_option(material.options.storage)[1]:
        note = f"{note} {hint}"
    file, _ = _file_of(material)
    return note if file else f"{note} The study's file is not in studies/; replace FILE.py with its path."


def run_command_of(material: Material) -> str:
    """``python -m search.run`` with every option of the study that differs from its default."""
    stored, name = material.stored, material.study.study_name
    file, document = _file_of(material)
    words = ["python -m search.run --study", quoted(file) if file else "FILE.py"]
    words.append(limits_options(_limits(material)).strip())
    is_synthetic_by_default = document is not None and (document.synthetic or name.endswith(PREVIEW))
    if not (stored.data == SYNTHETIC and is_synthetic_by_default):
        words.append(f"--data {quoted(stored.data)}{options_of(stored)}")
    # auto may have ended with scratch
    weights = "scratch" if stored.weights.get("source") == "scratch" else stored.weights_option
    if weights != ("scratch" if stored.data == SYNTHETIC else "auto"):
        words.append(f"--weights {quoted(weights)}")
    words += _set_options(material, document)
    words += [f"--seed {stored.seed}"] if stored.seed else []
    copied = material.study.user_attrs.get(GROWN_FROM)
    words += [f"--from {quoted(copied)}"] if copied else [] if stored.warm else ["--cold"]
    if copied or file != name.removesuffix(PREVIEW):
        words.append(f"--name {quoted(name)}")
    place = _cache(material) + place_options(material.options.runs, material.options.storage)
    return " ".join(words) + _photo_options(material) + place


def _limits(material: Material) -> dict[str, float | None]:
    """The limits that the study was run with, with which an interrupted one goes on too; --n-trials is at least the
    trials that there are. It alone where the limits are unknown, or of rounds with each level at its own best."""
    own_best = [trial for trial in material.trials if is_own_best(trial)]
    done = count_finished(material.trials) - count_finished(own_best)
    limits = material.study.user_attrs.get(LIMITS, {})
    if limits and not limits.get("own_best"):
        return {**limits, "n_trials": max(done, limits["n_trials"])}
    return {"n_trials": done or limits.get("n_trials", 1)}


def _photo_options(material: Material) -> str:
    return photo_options(material.stored.label_fixes, material.stored.skip_unreadable)


def _cache(material: Material) -> str:
    return cache_option(material.options.cache, material.options.runs)


def _file_of(material: Material) -> tuple[str, Study | None]:
    """The study file that asks this question, and its study; empty when no file in studies/ does."""
    return find_study_file(material.study.study_name, material.stored.study.question)


def _set_options(material: Material, document: Study | None) -> list[str]:
    """--set (or --people) for every fixed hyperparameter that differs from the study file's."""
    if document is None:
        return []
    defaults = make_config({**document.fixed, **document.baseline}).model_dump()
    space, meaningless = material.stored.study.space, material.stored.task.meaningless
    options = []
    for name, value in material.config.model_dump().items():
        is_same = defaults[name] == value and name not in document.space
        if name not in ("seed", *meaningless) and name not in space and not is_same:
            options.append(f"--people {value}" if name == "people" else f"--set {quoted(f'{name}={_as_typed(value)}')}")
    return options


def _as_typed(value: Any) -> str:
    """The value as one types it after --set."""
    if isinstance(value, tuple):
        is_size = all(isinstance(item, int | float) for item in value) and value
        return "x".join(map(str, value)) if is_size else ",".join(value)
    return str(value)


def _facts(material: Material) -> list[tuple[str, str]]:
    stored, attributes = material.stored, material.study.user_attrs
    versions = ", ".join(f"{name} {version}" for name, version in attributes.get(VERSIONS, {}).items())
    return [
        ("study", material.study.study_name),
        ("data", stored.data),
        ("split", stored.split),
        ("weights", ", ".join(f"{key} {value}" for key, value in stored.weights.items())),
        ("seed", str(stored.seed)),
        ("commit", str(attributes.get(COMMIT, "unknown"))),
        ("versions", versions or "unknown"),
    ]

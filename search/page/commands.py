"""How to reproduce a study: the commands, with the options that it is stored with, and what it was made by."""

from typing import Any

from maskcls.config import TrainConfig, make_config
from maskcls.data.dataset import SYNTHETIC
from maskcls.system.errors import UserError
from search.page.blocks import Block, Code, Facts, Section, Text
from search.page.data import Material
from search.policy.stopping import count_finished
from search.study.attributes import COMMIT, VERSIONS
from search.study.loading import known_studies, load_study_file
from search.study.study import Study, preview_of
from search.system.shell import place_options, quoted, runs_option, storage_option

PREVIEW = "-preview"


def commands_section(material: Material) -> Section:
    """How to make the study and its best model again: commands, versions, commit."""
    name, where = material.study.study_name, place_options(material.options.runs, material.options.storage)
    stored = material.stored
    runs = material.options.runs
    train = f"python -m maskcls.train --config best.toml --data {quoted(stored.data)} -o {quoted(runs / 'best')}"
    train += _photo_options(material) + runs_option(runs)
    export = f"python -m search.export --study {quoted(name)} -o best.toml{where}"
    lines = [line for line in (run_command_of(material), _confirm_command(material, where), export, train) if line]
    blocks: list[Block] = [Code("\n".join(lines)), Text(_note(material))]
    return Section("How to reproduce it", (*blocks, Facts(tuple(_facts(material)))))


def _confirm_command(material: Material, where: str) -> str:
    """Nothing for a study that has not been confirmed."""
    found = material.answer.confirmation
    if found is None:
        return ""
    asked = f"--top {len(found.finalists) - 1} --repeats {found.planned}"
    return f"python -m search.confirm --study {quoted(material.study.study_name)} {asked}{where}"


def _note(material: Material) -> str:
    told = (
        "The first command continues the study, or makes it again where there is none: trial for trial the same with"
        " one worker on a CPU of the same kind and thread count. The last two train the best trial again."
    )
    if hint := storage_option(material.options.storage)[1]:
        told = f"{told} {hint}"
    file, _ = _file_of(material)
    return told if file else f"{told} The study's own file is not in studies/; put its path in place of FILE."


def run_command_of(material: Material) -> str:
    """``python -m search.run`` with all that the study is stored with and that is not so by default."""
    stored, name = material.stored, material.study.study_name
    file, document = _file_of(material)
    words = ["python -m search.run --study", quoted(file) if file else "FILE.py"]
    words.append(f"--n-trials {count_finished(material.trials)}")
    is_by_itself = document is not None and (document.synthetic or name.endswith(PREVIEW))
    if not (stored.data == SYNTHETIC and is_by_itself):
        words.append(f"--data {quoted(stored.data)}")
    weights = "scratch" if stored.weights.get("source") == "scratch" else stored.weights_option  # as auto came to it
    if weights != ("scratch" if stored.data == SYNTHETIC else "auto"):
        words.append(f"--weights {quoted(weights)}")
    words += _settings(material, document)
    words += [f"--seed {stored.seed}"] if stored.seed else []
    if file != name.removesuffix(PREVIEW):
        words.append(f"--name {quoted(name)}")
    return " ".join(words) + _photo_options(material) + place_options(material.options.runs, material.options.storage)


def _photo_options(material: Material) -> str:
    fixes, skip = material.stored.label_fixes, material.stored.skip_unreadable
    return (f" --label-fixes {quoted(fixes)}" if fixes != "auto" else "") + (" --skip-unreadable" if skip else "")


def _file_of(material: Material) -> tuple[str, Study | None]:
    """The study file that asks this question, and what it says; nothing when none of studies/ does."""
    name = material.study.study_name
    first = name.removesuffix(PREVIEW)
    for file in sorted(known_studies(), key=lambda known: known != first):
        try:
            study = load_study_file(file)
        except UserError:
            continue
        if study.question == material.stored.study.question:
            is_preview = name.endswith(PREVIEW) and not study.synthetic
            return file, preview_of(study) if is_preview else study
    return "", None


def _settings(material: Material, document: Study | None) -> list[str]:
    """--set for every fixed knob that the study file has otherwise, --people for its own."""
    if document is None:
        return []
    there = _written_out(make_config({**document.fixed, **document.baseline}))
    found = []
    for name, value in _written_out(material.config).items():
        is_pinned = name in document.space and name not in material.stored.study.space
        if name == "seed" or name in material.stored.study.space or not (is_pinned or there[name] != value):
            continue
        option = f"--people {value}" if name == "people" else f"--set {quoted(f'{name}={_as_typed(value)}')}"
        found.append(option)
    return found


def _written_out(config: TrainConfig) -> dict[str, Any]:
    return config.model_dump()


def _as_typed(value: Any) -> str:
    """What --set reads back as the value."""
    if isinstance(value, tuple):
        is_size = all(isinstance(item, int | float) for item in value) and value
        return "x".join(map(str, value)) if is_size else ",".join(value)
    return str(value)


def _facts(material: Material) -> list[tuple[str, str]]:
    study, stored = material.study, material.stored
    facts = study.user_attrs
    versions = ", ".join(f"{name} {found}" for name, found in facts.get(VERSIONS, {}).items())
    weights = ", ".join(f"{name} {found}" for name, found in stored.weights.items())
    return [
        ("study", study.study_name),
        ("data", stored.data),
        ("split", stored.split),
        ("weights", weights),
        ("seed", str(stored.seed)),
        ("commit", str(facts.get(COMMIT, "unknown"))),
        ("versions", versions or "unknown"),
    ]

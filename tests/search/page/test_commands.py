"""Printed commands ask for what was asked for: each is read as a shell reads it, and by its command's own parser."""

import importlib
import re
import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

import search.supervisor.start
from docs.reference import parameters_of
from maskcls.config import load_config, save_config
from maskcls.data.dataset import Table, open_data, read_table
from maskcls.reading.source import SourceOptions
from maskcls.system.errors import UserError
from maskcls.system.options import CACHE_VARIABLE
from maskcls.tasks.declared import task_of_origin
from maskcls.train import _task_of
from search.database.connect import backend_of, create_study, default_url, open_storage, place_of
from search.database.optuna_internals import study_id
from search.findings.evidence import answer_of
from search.findings.recipe import find_recipe
from search.page.commands import commands_section, run_command_of
from search.page.data import Material, ReportOptions
from search.policy.stopping import StoppingCriteria
from search.study.attributes import GROWN_FROM, LIMITS
from search.study.record import KEY, Stored, check_same
from search.study.request import StudyRequest
from search.supervisor.launch import Launch
from search.system.shell import cache_option, place_options
from search.terminal.comparison import _show_recipes
from search.terminal.composition import _show_no_single
from search.terminal.summary import show_search_summary
from search.worker.create_confirmation import find_confirmation
from tests.helpers.data.photos import save_photos, save_table
from tests.helpers.report import Played, make_study, play_rounds
from tests.helpers.search import make_setup

ROOT = Path(__file__).parents[3]
STORAGE = "sqlite:////elsewhere/other studies.db"


def commands_in(text: str) -> list[str]:
    """The ``python -m`` commands of a text that has each at the end of a line or between backticks."""
    return [found[0].strip() for line in text.splitlines() if (found := re.search(r"python -m [^`]+", line))]


def parsed(line: str) -> tuple[str, dict[str, Any]]:
    """(the command's module, the values of its options and arguments by name, defaults included) of a printed command.

    What the command would refuse raises click.UsageError.
    """
    python, flag, module, *words = shlex.split(line)
    assert (python, flag) == ("python", "-m")
    app = typer.Typer(add_completion=False)
    app.command()(importlib.import_module(module).main)
    context = typer.main.get_command(app).make_context(module, words)
    return module, dict(context.params)


def request_of(values: dict[str, Any]) -> StudyRequest:
    """As search.run makes it of its options."""
    photos = SourceOptions(
        *(values[name] for name in ("table", "path")),
        tuple(values["label"] or ()),
        *(values[name] for name in ("group", "split", "metric")),
    )
    return StudyRequest(
        *(values[name] for name in ("study", "name", "data", "weights", "label_fixes", "skip_unreadable", "seed")),
        values["set_"] or (),
        values["people"],
        photos,
        copy_of=values["from_"],
    )


def stored_by(request: StudyRequest, runs: Path) -> Stored:
    """The document of the study that a request asks for, with its split, as search.run would compare it."""
    requested = request.to_stored()
    folder, options = open_data(requested.data, runs, request.photos)
    requested = request.fit_to_photos(requested, folder, options)
    table = read_table(folder, requested.baseline_config, requested.label_fixes, requested.task)
    return replace(requested, split=table.hash)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """24 photos of as many patients, whose table says a split, and has two columns each of paths and of labels."""
    folder = tmp_path / "our photos"
    paths = [f"{number:02}.png" for number in range(24)]
    save_photos(folder, paths)
    rows = [
        (
            path,
            path,
            ("red", "blue")[number % 2],
            ("old", "new")[number // 2 % 2],
            f"p{number:02}",
            ("train", "train", "valid")[number // 4 % 3],
        )
        for number, path in enumerate(paths)
    ]
    save_table(folder / "meta data.csv", [("image", "again", "colour", "age", "patient", "split"), *rows])
    return folder


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, synthetic_folder: Path) -> Played:
    """A study with open rounds of both kinds."""
    runs = tmp_path_factory.mktemp("commands") / "the runs"
    runs.mkdir()
    played = make_study(runs, synthetic_folder)
    play_rounds(played, {0.0: 0.7, 0.5: 0.72}, 3)
    play_rounds(played, {0.0: 0.7, 0.5: 0.72}, 4, own_lr={0.0: 1e-2, 0.5: 3e-3})
    return played


TABLE = ("--table", "meta data.csv", "--path", "again", "--label", "colour")


@pytest.mark.parametrize(
    "typed",
    [
        (*TABLE, "--split", "none"),
        (*TABLE, "--split", "none", "--group", "patient", "--metric", "balanced_accuracy", "--weights", "scratch"),
        (
            *TABLE,
            "--label",
            "age",
            "--seed",
            "4",
            "--people",
            "22",
            "--set",
            "epochs=2",
            "--set",
            "augment=flip,cutmix",
        ),
        (*TABLE, "--name", "ours", "--weights", "/some/weights", "--skip-unreadable"),
    ],
)
def test_the_report_s_command_asks_for_the_same_study(tmp_path: Path, photos: Path, typed: tuple[str, ...]) -> None:
    runs = tmp_path / "the runs"
    line = ("python -m search.run --study dropout --data", f"'{photos}'", *(f"'{word}'" for word in typed))
    request = request_of(parsed(" ".join(line))[1])
    wanted = Stored.from_json(replace(stored_by(request, runs), weights={"source": "pretrained"}).to_json())
    wanted = replace(wanted, weights={"source": "scratch"}) if wanted.weights_option == "scratch" else wanted
    study = create_study(open_storage(default_url(tmp_path), create=True), request.stored_name, {KEY: wanted.to_json()})
    material = Material(study, wanted, answer_of(study, wanted, runs), ReportOptions(runs, STORAGE))
    module, values = parsed(run_command_of(material))
    assert module == "search.run"
    again = request_of(values)
    assert again.stored_name == request.stored_name
    check_same(wanted, replace(stored_by(again, runs), weights=wanted.weights), request.stored_name)
    assert again.to_stored().weights_option == request.to_stored().weights_option
    assert (again.skip_unreadable, again.label_fixes) == (request.skip_unreadable, request.label_fixes)
    assert (values["runs"], values["storage"]) == (runs, STORAGE)
    assert values["cold"]  # it has no warm starts


def test_without_split_none_it_would_be_another_study(tmp_path: Path, photos: Path) -> None:
    """What the table says is taken where nothing is typed."""
    drawn, given = (
        stored_by(StudyRequest("dropout", data=str(photos), photos=SourceOptions(*options)), tmp_path)
        for options in (("meta data.csv", "again", ("colour",), "", "none"), ("meta data.csv", "again", ("colour",)))
    )
    with pytest.raises(UserError, match="is stored with"):
        check_same(drawn, given, "dropout")


def test_limits_warm_starts_and_the_source_of_a_copy_are_typed_again(played: Played) -> None:
    material = played.material()

    def values(warm: tuple[dict[str, Any], ...] = (), **attributes: Any) -> dict[str, Any]:
        get_trials = played.study.get_trials
        study = SimpleNamespace(study_name="toy", user_attrs=attributes, get_trials=get_trials)
        asked = replace(material, study=study, stored=replace(material.stored, warm=warm))  # type: ignore[arg-type]
        return parsed(run_command_of(asked))[1]

    def limits(**attributes: Any) -> tuple[int, float | None, int | None]:
        found = values(**attributes)
        return found["n_trials"], found["max_epochs"], found["patience"]

    done = 14 + 6  # the rounds at each level's own best are those of search.confirm
    assert limits() == (done, None, None)
    assert limits(**{LIMITS: StoppingCriteria(50).to_json()}) == (50, None, None)  # it may have been interrupted
    assert limits(**{LIMITS: StoppingCriteria(2).to_json()}) == (done, None, None)
    assert limits(**{LIMITS: StoppingCriteria(2_000_000, 99.5, 7).to_json()}) == (2_000_000, 99.5, 7)
    assert limits(**{LIMITS: StoppingCriteria(50, 99.5, own_best=True).to_json()}) == (done, None, None)
    assert values()["cold"]
    assert not values(({"params": {}, "from": "known"},))["cold"]
    copied = values(**{GROWN_FROM: "first"})
    assert (copied["from_"], copied["name"], copied["cold"]) == ("first", "toy", False)


def test_every_command_of_the_report_names_its_study_and_its_place(played: Played) -> None:
    runs, stored = played.runs, replace(played.stored, label_fixes="our fixes.csv", skip_unreadable=True)
    cache = Path("local cache")
    material = replace(played.material(storage=STORAGE, cache=cache), stored=stored)
    code = commands_section(material).blocks[0]
    found = dict(map(parsed, commands_in(getattr(code, "text", ""))))
    assert list(found) == ["search.run", "search.confirm", "search.export", "maskcls.train"]
    for module in ("search.run", "search.confirm", "maskcls.train"):
        assert found[module]["cache"] == cache
    for module in ("search.run", "search.confirm", "search.export"):
        assert (found[module]["runs"], found[module]["storage"]) == (runs, STORAGE)
    for module in ("search.confirm", "search.export"):
        assert found[module]["study"] == "toy"
    assert (found["search.confirm"]["own_best"], found["search.confirm"]["repeats"]) == (True, 4)
    check_trains_the_recipe(found["maskcls.train"], stored, runs, Path("best.toml"))
    recipe = replace(find_recipe(played.study, None, runs), stored=stored)
    printed = recipe.training_command(runs / "it is.toml", runs)
    check_trains_the_recipe(parsed(printed)[1], stored, runs, runs / "it is.toml")


def check_trains_the_recipe(values: dict[str, Any], stored: Stored, runs: Path, config: Path) -> None:
    """``values``: those of a printed maskcls.train."""
    assert (values["config_file"], values["data"], values["runs"]) == (config, stored.data, runs)
    assert (values["label_fixes"], values["skip_unreadable"], values["out"]) == ("our fixes.csv", True, runs / "best")


def test_an_exported_config_is_trained_on_the_drawn_split_despite_the_table_s(tmp_path: Path, photos: Path) -> None:
    """So the printed maskcls.train needs no --split none: [origin] says how the table was read."""
    request = StudyRequest(
        "dropout", data=str(photos), photos=SourceOptions("meta data.csv", "again", ("colour",), "", "none")
    )
    stored = stored_by(request, tmp_path)
    assert stored.task.source.split == ""
    save_config(tmp_path / "best.toml", stored.baseline_config, {"task": stored.task.to_json()})
    task = task_of_origin(load_config(tmp_path / "best.toml")[1], tmp_path / "best.toml")
    folder, options = open_data(str(photos), tmp_path, SourceOptions(), task.source)
    task = _task_of(folder, options, task, is_typed=False)
    assert read_table(folder, stored.baseline_config, "auto", task).hash == stored.split


def test_the_real_study_of_a_preview_has_all_that_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Launch, "make_crew", lambda *_: pytest.exit)
    monkeypatch.setattr(search.supervisor.start, "check_url", stop)
    assignments, people = ("epochs=2", "augment=flip,cutmix"), 30
    request = StudyRequest("dropout", None, None, "/some/weights", "fixes.csv", True, 3, assignments, people)
    launch = Launch(tmp_path / "the runs", STORAGE, "cpu", 1, cache=Path("local cache"))
    with pytest.raises(UserError, match="stopped"):
        search.supervisor.start.run_study(request, launch, StoppingCriteria(60, 12.0, 7), 5, True)
    (line,) = commands_in(capsys.readouterr().out)
    values = parsed(line)[1]
    assert request_of(values) == replace(request, data="DIR", assignments=list(assignments))
    assert (values["n_trials"], values["max_epochs"], values["patience"], values["cold"]) == (60, 12, 7, True)
    assert (values["runs"], values["storage"]) == (tmp_path / "the runs", STORAGE)
    assert values["cache"] == Path("local cache")


def test_a_cache_that_is_taken_unasked_is_not_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, "/local/our cache")
    assert [cache_option(cache, Path("here")) for cache in (None, Path("/local/our cache"))] == ["", ""]
    assert cache_option(Path("here/cache"), Path("here")) == " --cache here/cache"  # the variable would say another
    monkeypatch.delenv(CACHE_VARIABLE)
    assert cache_option(Path("here/cache"), Path("here")) == ""
    assert cache_option(Path("/local/our cache"), Path("here")) == " --cache '/local/our cache'"


def test_the_closing_screen_and_the_note_say_where_the_study_is(
    played: Played, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    cache, default, storage = Path("local cache"), played.runs / "cache", backend_of(played.study)
    for data, given, needed in (("hf:DIR", cache, cache), ("hf:DIR", default, None), ("photos", cache, cache)):
        show_search_summary(played.study, replace(played.stored, data=data), played.runs, STORAGE, given)
        found = dict(map(parsed, commands_in(capsys.readouterr().out)))
        assert (found["search.report"]["cache"], found["search.confirm"]["cache"]) == (needed, needed)
        notes = [str(text) for text in storage.get_study_system_attrs(study_id(played.study)).values()]
        commands = [line for text in notes for line in commands_in(text.replace("\\", ""))]
        found |= dict(parsed(line) for line in commands if "search.ensemble" in line)
        assert list(found) == ["search.report", "search.confirm", "search.export", "search.ensemble"]
        for module, values in found.items():
            assert values["study"] in ("toy", ["toy"])
            assert (values["runs"], values["storage"]) == (played.runs, STORAGE), module


def test_a_missing_single_model_is_made_for_the_same_photos(
    tmp_path: Path, synthetic_table: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = make_setup(tmp_path, synthetic_table).stored
    fixed = {**stored.study.fixed, "split_seed": 3, "valid_share": 0.25, "people": 40}
    study = replace(stored.study, fixed=fixed, synthetic=False, is_stored=True)
    stored = replace(stored, study=study, data="our photos", label_fixes="none", skip_unreadable=True)
    _show_no_single(SimpleNamespace(stored=stored), place_options(tmp_path / "the runs", STORAGE))  # type: ignore[arg-type]
    (line,) = commands_in(capsys.readouterr().out)
    values = parsed(line)[1]
    request = request_of(values)
    assert (request.data, request.label_fixes, request.skip_unreadable) == ("our photos", "none", True)
    config = request.to_stored().baseline_config
    assert (config.split_seed, config.valid_share, config.people) == (3, 0.25, 40)
    assert (values["runs"], values["storage"]) == (tmp_path / "the runs", STORAGE)


def test_the_command_that_compares_recipes_names_the_team_s_file_and_the_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of_team = SimpleNamespace(unfinished="", confirms="toy", confirms_team=True)
    _show_recipes(of_team, of_team, place_options(tmp_path, STORAGE))  # type: ignore[arg-type]
    module, values = parsed(commands_in(capsys.readouterr().out)[0].removesuffix(")."))
    assert (module, values["study"], values["ensemble"]) == ("search.confirm", "toy", Path("FILE"))
    assert (values["runs"], values["storage"]) == (tmp_path, STORAGE)


def test_what_is_to_be_removed_is_named_with_its_place(tmp_path: Path, synthetic_table: Table) -> None:
    storage = open_storage(default_url(tmp_path), create=True)
    document = make_setup(tmp_path, synthetic_table).stored.to_json()
    for name in ("toy", "toy-confirm"):
        create_study(storage, name, {KEY: document})
    with pytest.raises(UserError) as caught:
        find_confirmation(storage, "toy", place=place_of(STORAGE, tmp_path))
    module, values = parsed(commands_in(str(caught.value))[0])
    assert (module, values["study"]) == ("search.delete", "toy-confirm")
    assert (values["runs"], values["storage"]) == (tmp_path, STORAGE)
    assert place_of(default_url(Path("runs")), Path("runs")) == ""


def test_every_printed_command_has_options_that_it_knows() -> None:
    found = 0
    for path in (*(ROOT / "search").rglob("*.py"), *(ROOT / "maskcls").rglob("*.py")):
        for module, rest in re.findall(r"python -m ((?:search|maskcls)\.\w+)([^`\n]*)", path.read_text("utf-8")):
            if (ROOT / f"{module.replace('.', '/')}.py").is_file():
                known = {flag for parameter in parameters_of(module) for flag in parameter.opts}
                assert set(re.findall(r" (--[a-z-]+)", rest)) <= known, (path, module, rest)
                found += 1
    assert found > 20


def stop(*_: object) -> None:
    raise UserError("stopped")

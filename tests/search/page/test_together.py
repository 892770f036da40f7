"""The report's section on models that predict together."""

from pathlib import Path

import pytest

import search.page.together as together
from search.answer.ensembles import find_ensemble
from search.database.connect import default_url, load_study, open_storage
from search.page.blocks import Code, Facts, Figure, Table, Text
from search.page.data import Material, ReportOptions, gather
from tests.helpers.predictions import store, wrong


def material_of(runs: Path, shares: tuple[float, ...]) -> Material:
    runs.mkdir()
    store(runs, "whole", "all", [wrong("all", share, seed) for seed, share in enumerate(shares)])
    study = load_study(open_storage(default_url(runs), create=False), "whole")
    return gather(study, ReportOptions(runs=runs))


def test_members_gain_cost_and_command_are_those_of_search_ensemble(tmp_path: Path) -> None:
    material = material_of(tmp_path / "runs", (0.5, 0.4, 0.45, 0.6))
    section = together.together_section(material)
    assert section is not None
    found = find_ensemble(["whole"], 5, open_storage(default_url(tmp_path / "runs"), create=False), tmp_path / "runs")
    text, figure, table, facts, command = section.blocks
    assert isinstance(text, Text)
    assert isinstance(figure, Figure)
    assert f"as measured +{found.gain.measured.value:.4f}" in figure.alt
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == [f"trial {model.trial.number}" for model in found.models]
    assert sum(int(row[1].removesuffix(" %")) for row in table.rows) == pytest.approx(100, abs=2)
    assert isinstance(facts, Facts)
    assert dict(facts.items)["cost"] == f"{len(found.members)} models have to predict every photo"
    assert dict(facts.items)["gain, corrected"].endswith(found.gain.corrected.verdict)
    assert isinstance(command, Code)
    assert command.text.startswith("python -m search.ensemble --study whole -o team.toml --runs ")


def test_what_takes_long_is_left_to_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    material = material_of(tmp_path / "runs", (0.5, 0.4))
    monkeypatch.setattr(together, "SECONDS", 0.0)
    section = together.together_section(material)
    assert section is not None
    text, command = section.blocks
    assert isinstance(text, Text)
    assert "so it is left to this command:" in text.text
    assert isinstance(command, Code)


def test_there_is_no_section_without_two_models(tmp_path: Path) -> None:
    assert together.together_section(material_of(tmp_path / "one", (0.5,))) is None
    assert together.together_section(material_of(tmp_path / "perfect", (0.0, 0.9))) is None


def test_it_is_about_predictions_wherever_the_weights_are(tmp_path: Path) -> None:
    material = material_of(tmp_path / "runs", (0.5, 0.4))
    before = together.together_section(material)
    for weights in (tmp_path / "runs").rglob("best.safetensors"):
        weights.unlink()
    assert together.together_section(material) == before is not None

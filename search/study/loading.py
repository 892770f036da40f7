"""Where studies come from: the files of ``studies/``, and those of a user's own."""

import importlib.util
import sys
from pathlib import Path

from maskcls.system.errors import UserError, nearest, one_line
from search.study.study import Study

STUDIES = Path(__file__).parents[2] / "studies"


def load_study_file(name: str) -> Study:
    """STUDY of ``studies/<name>.py``, or of the file that ``name`` is the path of."""
    path = Path(name) if name.endswith(".py") else STUDIES / f"{name}.py"
    if name.endswith(".py"):
        _check_file(path)
    elif not path.is_file() or name.startswith("_"):
        known = known_studies()
        if Path(name).is_file() or ("/" in name and Path(name).exists()):
            raise UserError(f"{name} is no study file: give the path of one that ends in .py.")
        raise UserError(f"No study named {name!r} in studies/.{nearest(name, known)} There are: {', '.join(known)}.")
    spec = importlib.util.spec_from_file_location(f"study_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where a dataclass in the file looks for the names of its types
    try:
        spec.loader.exec_module(module)
    except UserError as error:
        raise UserError(f"{path.name}: {error}") from None
    except SystemExit as error:
        raise UserError(
            f"The study file {path} ends the command (sys.exit, status {error.code}); take that out."
        ) from None
    except Exception as error:  # whatever a file of the user's own may raise
        raise UserError(
            f"The study file {path} cannot be loaded: {type(error).__name__}: {one_line(error)}."
        ) from error
    study = getattr(module, "STUDY", None)
    if not isinstance(study, Study):
        raise UserError(f"The study file {path} must define STUDY = Study(...).")
    return study


def _check_file(path: Path) -> None:
    """Raise UserError when there is no such file, and say what is there instead."""
    if path.is_symlink() and not path.exists():
        raise UserError(f"The study file {path} is a link to {path.readlink()}, which is not there.")
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is no study file but a folder; give the file's path.")
    if not path.exists():
        raise UserError(f"There is no study file {path}.")


def known_studies() -> list[str]:
    """The names of the studies that come with the project."""
    return sorted(path.stem for path in STUDIES.glob("*.py") if not path.stem.startswith("_"))

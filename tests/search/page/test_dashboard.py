"""The dashboard in a browser: it opens by a click, a report shows in its sandbox, and an uploaded page runs nothing."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from optuna.artifacts import FileSystemArtifactStore, upload_artifact

import search.report
from search.storage.files import study_artifacts
from tests.helpers.browser import dump, needs_chromium_alone
from tests.helpers.dashboard import Served, serving
from tests.helpers.report import make_study
from tests.helpers.search import succeed

pytestmark = needs_chromium_alone

OWNING = """<h1 id="title">as it was</h1><script>
document.getElementById("title").textContent = "owned " + document.domain
</script>"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, synthetic_folder: Path) -> tuple[Path, dict[str, str]]:
    """A folder with a study whose report is in the dashboard, beside a page with a script; their paths there."""
    runs = tmp_path_factory.mktemp("runs")
    study = make_study(runs, synthetic_folder).study
    succeed(search.report.main, "--study", "toy", "--runs", str(runs))
    page = tmp_path_factory.mktemp("uploaded") / "owning.html"
    page.write_text(OWNING)
    store = FileSystemArtifactStore(runs / "artifacts")
    upload_artifact(artifact_store=store, file_path=str(page), study_or_trial=study)
    return runs, {name: f"/artifacts/{study._study_id}/{found}" for found, name in study_artifacts(study).items()}


@pytest.fixture(scope="module")
def served(shared: tuple[Path, dict[str, str]]) -> Iterator[Served]:
    with serving(shared[0]) as found:
        yield found


def address(served: Served, path: str) -> str:
    return f"http://127.0.0.1:{served.port}{path}?{served.url.query}"


def test_a_report_shows_in_its_sandbox(served: Served, shared: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    page, complaints = dump(address(served, shared[1]["report.html"]), tmp_path)
    assert "<h1>Does dropout help?</h1>" in page
    assert complaints == []  # nothing that its policy would not let it show


def test_an_uploaded_page_runs_nothing(served: Served, shared: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    page, complaints = dump(address(served, shared[1]["owning.html"]), tmp_path)
    assert ">as it was</h1>" in page
    assert any("sandboxed" in line for line in complaints)


def test_the_printed_address_opens_by_a_click_on_another_site(served: Served, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    link = address(served, "/dashboard/").replace("&", "&amp;")
    (tmp_path / "site" / "chat.html").write_text(
        f'<a id="link" href="{link}">open</a><script>document.getElementById("link").click()</script>'
    )
    handler = partial(_Quiet, directory=str(tmp_path / "site"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        # localhost and 127.0.0.1 are two sites to a browser
        page, _ = dump(f"http://localhost:{site.server_port}/chat.html", tmp_path / "profile")
        site.shutdown()
    assert "<title>Optuna Dashboard</title>" in page


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

"""What is made of the flow is what the repository keeps, and every format tells of every event."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner

from eventbus.manifest import declare
from saga.__main__ import main
from saga.commands.flow import FORMATS
from saga.flow.formats.svg import as_svg
from saga.flow.formats.text import as_text
from saga.flow.model import Flow
from tests.contract.test_choreography import SERVICES
from tests.support.saga.declarations import declared, reaction

ROOT = Path(__file__).parents[2]
FLOW = Flow.of(SERVICES)
SVG = "{http://www.w3.org/2000/svg}"


def flow(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["flow", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """The three services' declarations as `<service> declaration` writes them."""
    paths = [tmp_path / f"{service.name}.json" for service in SERVICES]
    for path, service in zip(paths, SERVICES, strict=True):
        path.write_text(declare(service).to_json(), encoding="utf-8")
    return [str(path) for path in paths]


def test_the_topics_file_is_made_of_the_flow() -> None:
    """deploy/topics.yaml is the output of `saga flow --format topics`, to the letter."""
    assert (ROOT / "deploy" / "topics.yaml").read_text(encoding="utf-8") == flow("--format", "topics")


def test_the_text_fits_one_page_and_tells_everything() -> None:
    """80 columns and 50 lines: every event, every handler, both endings."""
    lines = flow().splitlines()
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 80
    told = "\n".join(lines)
    for name in (*FLOW.events, *(handler.name for handler in FLOW.handlers), "COMPLETED", "ABORTED"):
        assert name in told


@pytest.mark.parametrize("form", [*FORMATS, "json"])
def test_installed_packages_and_declaration_files_tell_the_same(form: str, files: list[str]) -> None:
    """In every format, whatever order the files are named in."""
    assert flow("--format", form) == flow("--format", form, *files[::-1])


def test_the_picture_has_a_box_an_event_and_an_arrow_an_edge() -> None:
    """And stands alone: nothing is loaded from elsewhere."""
    picture = ET.fromstring(flow("--format", "svg"))
    boxes = [text.text for text in picture.iter(f"{SVG}text") if text.get("class") not in {"name", "legend"}]
    assert sorted(boxes) == sorted(FLOW.events)
    arrows = picture.findall(f"{SVG}path")
    assert len(arrows) == sum(edge.cause is not None for edge in FLOW.edges)
    assert all("href" not in attribute for element in picture.iter() for attribute in element.attrib)


def test_boxes_of_the_picture_do_not_cover_each_other() -> None:
    """Whoever says them, and however many a service says at one step."""
    many = [f"b.done.{number}" for number in range(5)]
    other = Flow(
        [declared("a-service", initiates=("a.done",)), declared("b-service", reaction("a.done", *many, "b.done"))]
    )
    for picture in (as_svg(FLOW), as_svg(other)):
        rects = [r for r in ET.fromstring(picture).iter(f"{SVG}rect") if "box" in (r.get("class") or "")]
        corners = [tuple(float(r.get(name) or 0) for name in ("x", "y", "width", "height")) for r in rects]
        for number, (x, y, width, height) in enumerate(corners):
            for x2, y2, width2, height2 in corners[:number]:
                assert x >= x2 + width2 or x2 >= x + width or y >= y2 + height2 or y2 >= y + height


def test_every_service_has_a_page_of_its_canvas() -> None:
    """With what it hears, says, undoes and waits for."""
    pages = flow("--format", "canvas").split("\n---\n\n")
    for page, service in zip(pages, FLOW.services, strict=True):
        assert page.startswith(f"# {service.service}\n")
        for name in (*service.consumes, *service.publishes, *(does.handler for does in service.reactions)):
            assert f"`{name}`" in page
    assert "`refund_payment` on `order.cancelled`, undoes `payment.charged`" in pages[1]
    assert "| `order.created` | `payment.charged` | `remember_items` |" in pages[2]


def test_json_has_everything_with_stable_keys() -> None:
    """For scripts, and for the tracker."""
    told = json.loads(flow("--format", "json"))
    assert set(told) == {"services", "events", "edges", "compensates", "runs", "workers"}
    assert told["events"]["order.cancelled"] == {
        "published_by": ["order-service"],
        "heard_by": ["payment-service", "inventory-service"],
        "final": "aborts",
    }
    assert len(told["runs"]) == 4


def test_services_side_by_side_are_all_shown_and_a_join_follows_the_later_event() -> None:
    """Two steps that do not wait for each other, and one that waits for both."""
    text = as_text(
        Flow(
            [
                declared("a-service", initiates=("a.done",)),
                declared("b-service", reaction("a.done", "b.done")),
                declared("c-service", reaction("a.done", "c.done")),
                declared(
                    "d-service",
                    reaction("b.done", "d.done", awaits=("c.done",)),
                    reaction("c.done", "d.done", awaits=("b.done",)),
                    completes=("d.done",),
                ),
            ]
        )
    )
    assert text.split("\n\n")[1].splitlines() == [
        "a.done                    a-service starts the saga",
        "├─ b.done                 b-service on_a_done",
        "│     · waits for c.done  d-service on_b_done",
        "└─ c.done                 c-service on_a_done",
        "   └─ d.done  COMPLETED   d-service on_c_done",
    ]


@pytest.mark.parametrize(
    ("write", "why"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.write_text("{"), "it is not JSON"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "it is not JSON"),
        (lambda path: path.write_text(declare(SERVICES[0]).to_json().replace("order.confirmed", 'x"y')), "JSON"),
        (
            lambda path: path.write_text(declare(SERVICES[0]).to_json().replace("order.confirmed", "x y")),
            "'x y' is not",
        ),
        (
            lambda path: path.write_text(declare(SERVICES[0]).to_json().replace("confirm_order", "x y")),
            "name of a handler",
        ),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path: Path, write, why) -> None:  # type: ignore[no-untyped-def]
    """One line on stderr, exit code 1."""
    path = tmp_path / "payment.json"
    write(path)
    result = CliRunner().invoke(main, ["flow", str(path)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: {path}: ")
    assert why in result.stderr


def test_a_service_that_is_declared_twice_is_refused(files: list[str], tmp_path: Path) -> None:
    """Which of the two would it be?"""
    copy = tmp_path / "copy.json"
    copy.write_bytes(Path(files[0]).read_bytes())
    result = CliRunner().invoke(main, ["flow", *files, str(copy)])
    assert result.exit_code == 1
    assert f"error: {copy}: order-service is already declared in {files[0]}" in result.stderr


def test_files_and_announcements_are_not_mixed(files: list[str]) -> None:
    """Either or: wrong usage."""
    assert CliRunner().invoke(main, ["flow", "--announced", *files]).exit_code == 2

"""`saga audit verify` finds whatever was done to an export, and names the record; the log judges the rest."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from eventbus.log import Partition, Record
from saga.__main__ import main
from saga.audit.export import CannotWrite, whole_file
from saga.audit.lines import GENESIS, NotAnExport, entry_of, lines_of, sealed
from saga.audit.scratch import NoRoom, scratch_database
from saga.audit.verify import AuditVerdict, compare, entries_of, verify_file
from tests.support.models.exported import DECODER, LANES, exported, history

RECORDS = history(12)
LINES, DIGEST = exported(RECORDS)
LAST = len(LINES) - 1


def written(folder: Path, lines: list[str]) -> Path:
    path = folder / "history.jsonl"
    path.write_text("".join(lines), encoding="utf-8")
    return path


def verified(folder: Path, lines: list[str]) -> AuditVerdict:
    return verify_file(written(folder, lines))


def findings(folder: Path, lines: list[str]) -> list[tuple[str, str]]:
    return [(finding.kind, finding.what) for finding in verified(folder, lines).findings.first]


def address(number: int) -> str:
    return RECORDS[number].address


def chained(bodies: list[str]) -> list[str]:
    """Return lines as somebody makes them who knows how, and has the time."""
    lines, previous = [], GENESIS
    for body in bodies:
        line, previous = sealed(body, previous)
        lines.append(line + "\n")
    return lines


def bodies(lines: list[str], folder: Path) -> list[str]:
    return [line.body for line in lines_of(written(folder, lines))]


def test_an_export_is_complete_and_unaltered(tmp_path):
    """Also one of nothing; the last line says how much there is of each partition."""
    verdict = verified(tmp_path, LINES)
    assert (verdict.findings.count, verdict.records, verdict.digest) == (0, len(RECORDS), DIGEST)
    assert verdict.summary is not None
    assert verdict.summary.count == len(RECORDS)
    assert set(verdict.summary.ends) == set(LANES)
    assert verified(tmp_path, exported([])[0]).findings.count == 0


def test_a_line_says_everything_of_the_record():
    """As `saga tail` does, and the hashes of what cannot be seen in it."""
    line = json.loads(LINES[0])
    record = RECORDS[0]
    assert (line["topic"], line["partition"], line["offset"]) == (*record.partition, record.offset)
    assert line["schema_id"] == 5
    assert line["value"] == {"order_id": record.key.decode(), "error": "short"}
    assert set(line["sha256"]) == {"key", "value", "headers"}
    assert line["headers"]["ce_source"] == "inventory-service"
    assert (line["previous"], json.loads(LINES[1])["previous"]) == (GENESIS, line["hash"])


def test_headers_that_look_alike_have_different_hashes():
    """The border between name and content counts, and their order."""
    hashes = {
        json.loads(entry_of(RECORDS[0]._replace(headers=headers), DECODER).body)["sha256"]["headers"]
        for headers in ([("ab", b"c")], [("a", b"bc")], [("a", b"b"), ("c", b"d")], [("c", b"d"), ("a", b"b")], [])
    }
    assert len(hashes) == 5


@given(number=st.integers(0, LAST), data=st.data())
def test_any_changed_character_is_found_in_its_line(number, data, tmp_path_factory):
    """Wherever it is, also in a hash; in the last line too."""
    line = LINES[number]
    at = data.draw(st.integers(0, len(line) - 1))
    other = data.draw(st.sampled_from("0aZ{\n ").filter(lambda other: other != line[at]))
    folder = tmp_path_factory.mktemp("changed")
    changed = [*LINES[:number], line[:at] + other + line[at + 1 :], *LINES[number + 1 :]]
    try:
        assert verified(folder, changed).findings.count > 0
    except NotAnExport:
        assert number == LAST


def test_an_altered_record_is_named(tmp_path):
    """And nothing else."""
    number = next(n for n, line in enumerate(LINES) if '"total": 2933' in line)
    changed = LINES[number].replace('"total": 2933', '"total": 2833')
    assert findings(tmp_path, [*LINES[:number], changed, *LINES[number + 1 :]]) == [("altered", address(number))]


def test_an_altered_record_with_a_hash_that_fits_is_named(tmp_path):
    """The next line follows on the one that was there."""
    body = bodies(LINES, tmp_path)[5].replace('"offset"', '"offset" ')
    forged, _ = sealed(body, json.loads(LINES[5])["previous"])
    assert findings(tmp_path, [*LINES[:5], forged + "\n", *LINES[6:]]) == [("altered", address(5))]


@pytest.mark.parametrize("number", [0, 1, 7, LAST - 1])
def test_a_record_that_was_taken_out_is_told_by_its_neighbours(number, tmp_path):
    """Also the first and the last one."""
    before = "the beginning of the file" if number == 0 else address(number - 1)
    assert findings(tmp_path, LINES[:number] + LINES[number + 1 :]) == [("missing", f"after {before}")]


@pytest.mark.parametrize("count", [1, 3])
def test_records_that_were_put_in_are_named(count, tmp_path):
    """Linked as well as can be without touching the others."""
    bodies_there = bodies(LINES, tmp_path)
    previous, lines = json.loads(LINES[6])["hash"], []
    for number in range(count):
        line, previous = sealed(bodies_there[6].replace('"offset": ', f'"offset": {number + 1}'), previous)
        lines.append(line + "\n")
    found = findings(tmp_path, [*LINES[:7], *lines, *LINES[7:]])
    assert [kind for kind, _ in found] == ["added"] * count
    assert {what for _, what in found} == {json_address(line) for line in lines}


def json_address(line: str) -> str:
    content = json.loads(line)
    return f"{content['topic']}/{content['partition']}/{content['offset']}"


@pytest.mark.parametrize("to", [3, 9, 20])
def test_a_copy_of_a_line_is_named(to, tmp_path):
    """Beside its original or far from it."""
    assert findings(tmp_path, [*LINES[:to], LINES[2], *LINES[to:]]) == [("added", address(2))]


@pytest.mark.parametrize(("first", "second"), [(4, 5), (0, 1), (4, 9)])
def test_lines_that_changed_places_are_reordered_and_nothing_else(first, second, tmp_path):
    """Neighbours, the first two, and two that stand apart."""
    lines = list(LINES)
    lines[first], lines[second] = lines[second], lines[first]
    found = findings(tmp_path, lines)
    assert {kind for kind, _ in found} == {"reordered"}
    assert {what for _, what in found} <= {address(number) for number in range(first, second + 1)}


def test_a_file_that_was_cut_off_is_found(tmp_path):
    """After a line, or inside one; what follows the last line is found too."""
    assert findings(tmp_path, LINES[:9]) == [("missing", "the end of the file")]
    assert findings(tmp_path, [*LINES[:9], LINES[9][:40]]) == [
        ("altered", "line 10"),
        ("missing", "the end of the file"),
    ]
    assert ("altered", f"line {LAST + 1}") in findings(tmp_path, [*LINES[:-1], LINES[-1].rstrip("\n")])
    assert ("added", "1 lines") in findings(tmp_path, [*LINES, LINES[0].replace("a", "b")])


def test_who_computes_all_hashes_anew_is_found_by_the_counts_and_else_by_the_digest(tmp_path):
    """The last line counts and digests each partition; who knows that too leaves another digest."""
    there = bodies(LINES, tmp_path)
    tp = f"{RECORDS[5].partition.topic}/{RECORDS[5].partition.number}"
    assert findings(tmp_path, chained(there[:5] + there[6:])) == [("altered", tp)]
    assert findings(tmp_path, chained([*there[:5], '{"note": 1}', *there[5:]])) == [("added", "line 6")]
    altered = RECORDS[5]._replace(timestamp_ms=5)
    lines, digest = exported([*RECORDS[:5], altered, *RECORDS[6:]])
    assert findings(tmp_path, lines) == []
    assert digest != DIGEST
    path = written(tmp_path, lines)
    assert saga("verify", str(path)).exit_code == 0
    refused = saga("verify", str(path), "--digest", DIGEST)
    assert (refused.exit_code, f"its digest is {digest}" in refused.output) == (1, True)


def saga(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["audit", *arguments])


def against(
    folder: Path, lines: list[str], log: list[Record], starts: dict[Any, int] | None = None
) -> list[tuple[str, str]]:
    """Return what the log has against the lines."""
    verdict = verified(folder, lines)
    before = verdict.findings.count
    logged = (entry_of(r, DECODER) for r in log)
    compare(verdict, entries_of(folder / "history.jsonl"), logged, starts or {})
    return [(finding.kind, finding.what) for finding in verdict.findings.first[before:]]


def test_the_log_finds_what_the_file_alone_cannot(tmp_path):
    """Altered in whichever field, left out, made up; each by its address, and whoever made the file."""
    assert against(tmp_path, LINES, RECORDS) == []
    assert against(tmp_path, exported(RECORDS[:5] + RECORDS[6:])[0], RECORDS) == [("missing", address(5))]
    assert against(tmp_path, exported(RECORDS[:-1])[0], RECORDS) == [("missing", address(-1))]
    assert against(tmp_path, LINES, RECORDS[:5] + RECORDS[6:]) == [("added", address(5))]
    assert against(tmp_path, LINES, RECORDS[:-1]) == [("added", address(-1))]
    for other in ({"timestamp_ms": 5}, {"key": b"x"}, {"headers": []}, {"value": None}):
        altered = [*RECORDS[:5], RECORDS[5]._replace(**other), *RECORDS[6:]]
        assert against(tmp_path, exported(altered)[0], RECORDS) == [("altered", address(5))]


def test_a_file_in_disorder_is_still_held_against_the_log(tmp_path):
    """What stands in the wrong place is found there, not called missing."""
    lines = list(LINES)
    lines[4], lines[9] = lines[9], lines[4]
    assert against(tmp_path, lines, RECORDS) == []
    altered = [*RECORDS[:5], RECORDS[5]._replace(timestamp_ms=5), *RECORDS[6:]]
    assert against(tmp_path, lines, altered) == [("altered", address(5))]


def test_what_the_log_has_expired_is_counted_and_no_finding(tmp_path):
    """Below the start of its partition; from there on it is missing."""
    tp = Partition("order.created", 0)
    kept = [record for record in RECORDS if record.partition != tp or record.offset >= 4]
    verdict = verified(tmp_path, LINES)
    logged = [entry_of(r, DECODER) for r in kept]
    compare(verdict, entries_of(tmp_path / "history.jsonl"), logged, {tp: 3})
    assert (verdict.findings.count, verdict.expired) == (0, len(RECORDS) - len(kept))
    verdict = verified(tmp_path, LINES)
    compare(verdict, entries_of(tmp_path / "history.jsonl"), logged, {tp: 1})
    assert (verdict.findings.count, verdict.expired) == (1, 1)


def test_the_report_is_for_people_and_for_scripts(tmp_path):
    """Exit code 1 and the record in both."""
    path = written(tmp_path, LINES[:3] + LINES[4:])
    told = saga("verify", str(path))
    assert (told.exit_code, f"missing: after {address(2)}" in told.output) == (1, True)
    report = json.loads(saga("verify", str(path), "--json").stdout)
    assert (report["ok"], report["findings_total"], report["findings"][0]["kind"]) == (False, 1, "missing")


@pytest.mark.parametrize("content", ["", "{}\n", "hello\n", '{"eventTypes": []}\n', "[1]\n\x00"])
def test_a_file_that_is_something_else_is_refused(content, tmp_path):
    """With its name, and no findings that would lead astray."""
    path = tmp_path / "x.json"
    path.write_text(content)
    refused = saga("verify", str(path))
    assert (refused.exit_code, refused.stderr.startswith(f"error: {path} was not written by `saga audit export")) == (
        1,
        True,
    )


def test_a_file_of_another_version_is_refused(tmp_path):
    """It may mean something else."""
    body = bodies(LINES, tmp_path)[-1].replace('"format": 1', '"format": 2')
    path = written(tmp_path, [*LINES[:-1], sealed(body, json.loads(LINES[-1])["previous"])[0] + "\n"])
    refused = saga("verify", str(path))
    assert (refused.exit_code, "format 2" in refused.stderr) == (1, True)


def test_an_export_is_written_whole_or_not_at_all(tmp_path):
    """Nothing stays behind of one that failed, and nothing is written over."""
    path = tmp_path / "history.jsonl"
    with pytest.raises(ConnectionError), whole_file(path) as file:
        file.write("half")
        raise ConnectionError
    assert list(tmp_path.iterdir()) == []
    with whole_file(path) as file:
        file.write("whole")
    with pytest.raises(CannotWrite, match="exists"), whole_file(path):
        pass
    assert ([*tmp_path.iterdir()], path.read_text()) == ([path], "whole")
    refused = saga("export", str(tmp_path / "no-folder" / "x.jsonl"))
    assert (refused.exit_code, "cannot be written: No such file" in refused.stderr) == (1, True)


def test_there_is_an_error_for_people_where_there_is_no_room_to_sort():
    """The disk of the temporary file is not that of the export."""
    with pytest.raises(NoRoom, match="see SQLITE_TMPDIR"), scratch_database("create table a (b)") as database:
        database.execute("pragma max_page_count = 2")
        database.executemany("insert into a values (?)", [("x" * 4096,)] * 10)


def test_the_digest_can_be_computed_with_a_shell_as_the_documents_say(tmp_path):
    """Nothing of ours is needed to look."""
    path = written(tmp_path, LINES)
    page = (Path(__file__).parents[3] / "docs" / "audit.md").read_text(encoding="utf-8")
    [command] = [line for line in page.splitlines() if line.startswith("tail -n 1 ")]
    done = subprocess.run(
        command.replace("history.jsonl", path.name),
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[0] == DIGEST

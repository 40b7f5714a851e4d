"""The sample files in docs/examples are complete, and work as they are."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.contract.test_compose import read_by_commands
from tests.support.saga.compose import readme_exports
from tests.support.saga.processes import command, environment

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
SETTINGS = EXAMPLES / "saga.env"
OF_ONE_CALL = {"TRACEPARENT"}
"""Not a setting: the caller's trace."""


def test_the_environment_file_has_every_setting_that_a_command_reads() -> None:
    """And nothing else: a name that nobody reads would be a setting without effect."""
    named = set(re.findall(r"^#?(\w+)=", SETTINGS.read_text(encoding="utf-8"), re.MULTILINE))
    assert named == {*read_by_commands(), "SAGA_DECLARATIONS"} - OF_ONE_CALL


def test_it_sets_what_the_readme_exports() -> None:
    """To the same values, as a shell reads both."""
    printed = "import json, os; print(json.dumps(dict(os.environ)))"
    sourced = ["sh", "-c", f'set -a; . "{SETTINGS}"; exec "{sys.executable}" -c "{printed}"']
    done = subprocess.run(sourced, env=environment(), capture_output=True, text=True, check=True)
    exports = readme_exports()
    assert "SAGA_TRACKER" in exports
    assert {name: value for name, value in json.loads(done.stdout).items() if name in exports} == exports


def test_the_sample_orders_are_placed_once(tmp_path: Path) -> None:
    env = environment(ORDER_SERVICE_DATABASE=f"sqlite:///{tmp_path}/order-service.db")
    imported = ("import", str(EXAMPLES / "orders.jsonl"), "--json")
    for expected in ({"placed": 3, "repeated": 0}, {"placed": 0, "repeated": 3}):
        done = command("order_service", *imported, env=env, folder=tmp_path)
        assert done.code == 0, done
        assert json.loads(done.stdout) == expected | {"rejected": []}


def test_git_ignores_the_databases_that_the_readme_makes() -> None:
    """And the lock files beside them."""
    ignored = (EXAMPLES.parents[1] / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"*.db", "*.db.lock", "*.db-wal", "*.db-shm"} <= set(ignored)

"""`saga`: the whole, for people."""

from __future__ import annotations

import click

from choreography.audit import NotAnExport, audit_group
from choreography.audit.export import CannotWrite
from choreography.audit.scratch import NoRoom
from choreography.broker import broker_command
from choreography.chaos import chaos_command
from choreography.check import check_command
from choreography.check.log import TopicsMissing
from choreography.check.records import LogMoved
from choreography.check.stores import NotThere
from choreography.cluster import BadConfiguration, Unreachable
from choreography.deadletters import deadletters_group
from choreography.deadletters.resolve import Unresolved
from choreography.deadletters.selection import NoSuchLetter
from choreography.deadletters.skip import NothingToSkip
from choreography.decode import decode_command
from choreography.demo import demo_command
from choreography.flow.access_command import acls_command
from choreography.flow.command import flow_command
from choreography.flow.installed import NoService
from choreography.flow.progress import TooManyWays
from choreography.flow.verify import verify_command
from choreography.reader import NoSuchTopic, ReadFailed
from choreography.schemas_commands import schemas_group
from choreography.simulate import simulate_command
from choreography.tail import tail_command
from choreography.topics_commands import topics_group
from choreography.topics_file import BadTopicsFile
from choreography.track import READING, AnotherTracker, BadStatement, NotATracker, NotTracked, track_command
from choreography.ui import ui_command
from eventbus import LostRace, Unavailable, cli
from eventbus.database import NotOurs
from eventbus.declaration import BadDeclaration
from eventbus.registry import RegistryUnavailable, UnknownSchema

_FACTS = (
    *(BadConfiguration, BadDeclaration, BadTopicsFile, NoService, NoSuchLetter, NoSuchTopic, NothingToSkip, Unresolved),
    *(ReadFailed, RegistryUnavailable, TooManyWays, UnknownSchema, Unreachable),
    *(AnotherTracker, BadStatement, NotATracker, NotTracked),
    *(NotThere, NotOurs, Unavailable, LostRace),
    *(CannotWrite, LogMoved, NoRoom, NotAnExport, TopicsMissing),
)


@click.group(cls=cli.group_saying(*_FACTS), context_settings=cli.CONTEXT)
@click.version_option(package_name="order-saga")
def main() -> None:
    """Run, watch and check the order saga as a whole.

    Example: saga demo
    """


for command in (
    *(demo_command, topics_group, broker_command, tail_command, decode_command),
    *(schemas_group, flow_command, verify_command, acls_command, check_command, simulate_command, chaos_command),
    *(deadletters_group, track_command, *READING, audit_group, ui_command),
):
    main.add_command(command)


if __name__ == "__main__":
    main(prog_name="saga")

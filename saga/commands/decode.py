"""`saga decode`: Avro values, which kcat cannot decode."""

from __future__ import annotations

import sys

import click

from eventbus.cli import options as cli
from eventbus.text.json_form import to_json
from eventbus.text.plural import plural
from saga.commands.exits import exit_cleanly
from saga.declared import registry
from saga.kafka.decode import Decoder, NotKcat, Undecodable, frames


@click.command("decode", context_settings=cli.CONTEXT)
@cli.schema_registry_url
def decode_command(schema_registry_url: str | None) -> None:
    """Turn framed records on stdin into one JSON line each.

    A record that cannot be decoded becomes {"error": "..."}; then the exit code is 1 at the end. kcat does not pass
    headers on: use `saga tail` for records that name their schema in a header.

    \b
    Example:
      kcat -C -b localhost:9092 -t order.created -e -q -f '%R%s' \\
        -X isolation.level=read_committed | saga decode
    """  # noqa: D301 - \b is click's
    decoder = Decoder(registry(schema_registry_url))
    count = bad = 0
    with exit_cleanly():
        try:
            for count, value in enumerate(frames(sys.stdin.buffer), start=1):  # noqa: B007
                try:
                    line = decoder.decode(value)
                except Undecodable as error:
                    line, bad = {"error": str(error)}, bad + 1
                click.echo(to_json(line))
        except NotKcat as error:
            cli.fail(str(error))
    if bad:
        cli.fail(f"{bad} of {plural(count, 'record')} could not be decoded")

"""Bugs to plant, one at a time: each a replacement of text that stands exactly once in the source."""

from __future__ import annotations

from typing import NamedTuple

EARLY = """    def _publish_early(self, parts, root):
        batch = decision._DecisionBatch(parts, root)
        try:
            with self._deps.database.transaction() as tx:
                self._decision._decide(tx, batch, self._deps.failpoint)
                decided = decision._advance(tx, batch, batch.owned())
                raise KeyError("rolled back")
        except KeyError:
            pass
        outputs = [output for entry in decided.entries.values() for output in entry.outputs]
        self._deps.log.publish(outputs, {}, lambda: True)
        for item in batch.items():
            item.decide_again()

    @staticmethod
    def _emptied(decided):
        decided.entries = {p: entry._replace(outputs=[]) for p, entry in decided.entries.items()}
        return decided

    def _waiting(self) -> bool:
"""


class Mutant(NamedTuple):
    """A bug: in this file, this text becomes that one; `also` where one place is not enough.

    `faults`: with only these it is found sooner; else all kinds are drawn.
    """

    name: str
    file: str
    old: str
    new: str
    also: tuple[tuple[str, str], ...] = ()
    faults: str = ""


# Not among them, because nobody can see them: reading checkpoint and entries in two snapshots (since every recovery
# raises the epoch first, ADR 8, nobody can decide between the two); retrying parked records without comparing the
# checkpoint (the blocked key alone tells that another worker was there); reading on from the committed offset instead
# of the checkpoint (what is handled again then, the handlers know already); comparing only the own partitions with the
# database in recovery alone (`judge_copies` compares all some seconds later: the bug that is found leaves out both);
# root events out of order, and a cancellation that does not lock its order (the simulated database runs one transaction
# at a time): tests/contract/test_crowds.py and test_cancellation.py find these.
MUTANTS = (
    Mutant(
        "skip the checkpoint's compare",
        "eventbus/engine/decision.py",
        "                compare(tx, owned)\n",
        "",
    ),
    Mutant(
        "recover only the partition that lost the race",
        "eventbus/engine/engine.py",
        "            self._assignment.recover_later(everyone, str(error))\n        else:\n            return True\n",
        "            self._assignment.recover_later(everyone[:1], str(error))\n        else:\n"
        "            return True\n",
        faults="database",
    ),
    Mutant(
        "do not look at the epoch before the commit",
        "eventbus/kafka/producer.py",
        "            if not still_ours():\n",
        "            if False:\n",
    ),
    Mutant(
        "do not raise the epoch at recovery",
        "eventbus/store/progress.py",
        "stored.epoch + 1 for",
        "stored.epoch for",
        faults="haste",
    ),
    Mutant(
        "read the cursors before the epoch is raised",
        "eventbus/engine/recovery.py",
        "    log.committed(wanted)  # a worker that cannot read the offsets must not fence another one\n"
        '    failpoint("claiming")\n    epochs, known = _claim(database, wanted, actual, now_ms)\n'
        '    failpoint("claimed")\n    committed = log.committed(wanted)\n'
        "    evidence, noted = _evidence(log, committed, topics, known)\n",
        "    committed = log.committed(wanted)\n    evidence, noted = _evidence(log, committed, topics, wanted)\n"
        '    failpoint("claiming")\n    epochs, _ = _claim(database, wanted, actual, now_ms)\n',
        faults="haste",
    ),
    Mutant(
        "never look at the checkpoint when idle",
        "eventbus/engine/housekeeping.py",
        "moved = [owned for owned in known if seen.checkpoints.get(owned.partition) != owned.checkpoint]",
        "moved: list[Owned] = []",
        faults="takeover",
    ),
    Mutant(
        "publish before the database commit",
        "eventbus/engine/engine.py",
        "                decided = self._decision.commit(",
        "                self._publish_early(mine, root)\n                decided = self._decision.commit(",
        (
            ("    def _waiting(self) -> bool:\n", EARLY),
            (
                "from eventbus.service import Service\n",
                "from eventbus.engine import decision\nfrom eventbus.service import Service\n",
            ),
            (
                "                self._publisher.add(decided)\n",
                "                self._publisher.add(self._emptied(decided))\n",
            ),
        ),
    ),
    Mutant(
        "forget the outbox",
        "eventbus/engine/decision.py",
        "    decided.entries = progress.add(tx, decided.entries)\n",
        "",
    ),
    Mutant(
        "ignore the position in the metadata",
        "eventbus/engine/recovery.py",
        "above = {p: (last.outbox_seq or 0) if (last := published[p]) else 0 for p in wanted}",
        "above = dict.fromkeys(wanted, 0)",
    ),
    Mutant(
        "forget how far the outbox was published",
        "eventbus/kafka/log.py",
        "        return {Partition(a.topic, a.partition): committed_offset_of(a) for a in answers}\n",
        "        found = {Partition(a.topic, a.partition): committed_offset_of(a) for a in answers}\n"
        "        return {p: each and each._replace(outbox_seq=None) for p, each in found.items()}\n",
        (
            (
                "        if self._progress is None:\n            return None\n        where",
                "        return None\n        where",
            ),
        ),
    ),
    Mutant(
        "commit one offset too far",
        "eventbus/engine/decision.py",
        "ends = {part.owned.partition: (part.end, part.leader_epoch) for part in parts}",
        "ends = {part.owned.partition: (part.end + 1, part.leader_epoch) for part in parts}",
    ),
    Mutant(
        "do not ask whether a topic was created again",
        "eventbus/engine/incarnations.py",
        "    if stored.topic != actual.topic:\n",
        "    if False:\n",
        faults="recreated",
    ),
    Mutant(
        "ask only at recovery whether a topic was created again",
        "eventbus/engine/incarnations.py",
        "            check_identity(each.partition, each.identity, actual[each.partition.topic])\n",
        "            pass\n",
        faults="recreated",
    ),
    Mutant(
        "go past markers without asking whether the topic was created again",
        "eventbus/engine/housekeeping.py",
        "        self._topics.check([recovered[partition] for partition in ends])\n",
        "",
        faults="recreated",
    ),
    Mutant(
        "forget to which topics was published",
        "eventbus/engine/incarnations.py",
        "            if known != actual[topic].topic:\n",
        "            if False:\n",
        faults="recreated",
    ),
    Mutant(
        "seek without the leader epoch",
        "eventbus/engine/recoverer.py",
        "self._deps.log.seek(owned.partition, owned.reached, owned.checkpoint.leader_epoch)",
        "self._deps.log.seek(owned.partition, owned.reached)",
        faults="truncated",
    ),
    Mutant(
        "take any leader epoch for the one in which markers were read",
        "eventbus/engine/housekeeping.py",
        "if now[p] in (c.leader_epoch, recovered[p].leader_epoch)}",
        "}",
        faults="truncated",
    ),
    Mutant(
        "take a log that lost its end for one that must be recovered",
        "eventbus/kafka/log.py",
        "            raise _truncated(where, error)\n",
        "            return {where: GAP}\n",
        faults="truncated",
    ),
    Mutant(
        "send a cursor one offset too far",
        "eventbus/engine/publisher.py",
        "CommittedOffset(*o.checkpoint[:2], ",
        "CommittedOffset(o.checkpoint.next_offset + 1, o.checkpoint.outbox_seq, ",
    ),
    Mutant(
        "delete an entry that is not published yet",
        "eventbus/engine/decision.py",
        "deleted = {p: each.published for p, each in owned.items() if each.published > each.deleted}",
        "deleted = {p: each.checkpoint.outbox_seq for p, each in owned.items()}",
    ),
    Mutant(
        "number the next entry like the last one published",
        "eventbus/engine/decision.py",
        "            outbox_seq += 1\n",
        "            outbox_seq += 0 if outbox_seq else 1\n",
    ),
    Mutant(
        "take uncaused events without publishing them",
        "eventbus/engine/decision.py",
        "        outputs.setdefault(root_partition.partition, []).extend(waiting)\n",
        "        outputs.setdefault(root_partition.partition, []).extend(waiting[:1])\n",
    ),
    Mutant(
        "do not rewind after an abort",
        "eventbus/engine/publisher.py",
        "            self._assignment.recover_later(mine, str(error))\n            return\n"
        '        self._deps.failpoint("published")',
        '        self._deps.failpoint("published")',
    ),
    Mutant(
        "keep the producer after an unknown commit",
        "eventbus/kafka/producer.py",
        "            except KafkaException:\n                self._drop()\n        else:\n            self._drop()\n",
        "            except KafkaException:\n                self._drop()\n",
    ),
    Mutant(
        "take an unknown commit for done",
        "eventbus/kafka/producer.py",
        "            self._again(lambda: producer.commit_transaction(self._seconds()))\n",
        "            with contextlib.suppress(KafkaException):\n"
        "                self._again(lambda: producer.commit_transaction(self._seconds()))\n",
    ),
    Mutant(
        "do not hear of a connection that broke under an end of transaction",
        "eventbus/kafka/producer.py",
        "            if self._failures.failures != failures:\n                self._drop()\n",
        "",
        faults="late copy,takeover",
    ),
    Mutant(
        "publish while fenced",
        "eventbus/kafka/producer.py",
        "                self._send_offsets(producer, offsets, group)\n",
        "                with contextlib.suppress(KafkaException):\n"
        "                    self._send_offsets(producer, offsets, group)\n",
        faults="takeover",
    ),
    Mutant(
        "handle a batch of partitions that were revoked meanwhile",
        "eventbus/engine/assignment.py",
        "        return self._owned.get(owned.partition) is owned and owned.consuming\n",
        "        return owned.consuming\n",
        faults="slow provider,rebalance",
    ),
    Mutant(
        "send no cursors",
        "eventbus/engine/publisher.py",
        "self._deps.log.publish(outputs, offsets, lambda: self._still_ours(mine))",
        "self._deps.log.publish(outputs, {}, lambda: self._still_ours(mine))",
    ),
    Mutant(
        "a new idempotency key for every attempt",
        "payment_service/service.py",
        "return self._gateway.charge(order_id, amount, currency)",
        'return self._gateway.charge(f"{order_id}/{id(object())}", amount, currency)',
    ),
    Mutant(
        "take an unknown outcome for a refusal, and compensate it",
        "eventbus/engine/remote.py",
        "            item.called, item.outcome = True, outcome\n",
        "            from payment_service.domain import Declined\n"
        '            item.called, item.outcome = True, Declined("no answer") if is_unknown(outcome) else outcome\n',
    ),
    Mutant(
        "compensate an order that the provider refuses, instead of parking it",
        "eventbus/engine/remote.py",
        "            if type(item.outcome) is Unasked:\n",
        "            from payment_service.domain import Declined\n"
        "            if unanswered.is_refused(item.address):\n"
        '                item.outcome = Declined("no answer")\n'
        "            if type(item.outcome) is Unasked:\n",
        faults="refusal",
    ),
    Mutant(
        "never park an order that the provider refuses",
        "eventbus/engine/unanswered.py",
        "        return suspect.attempts >= ATTEMPTS_AT_LEAST and suspect.chance < CHANCE\n",
        "        return False\n",
        faults="refusal",
    ),
    Mutant(
        "park everybody when the provider is away for all",
        "eventbus/engine/unanswered.py",
        "        if suspect is None or suspect.share == 1:\n            return False\n"
        "        return suspect.attempts >= ATTEMPTS_AT_LEAST and suspect.chance < CHANCE\n",
        "        return suspect is not None\n",
        faults="refusal",
    ),
    Mutant(
        "drop an order.created that comes after the payment",
        "inventory_service/domain.py",
        '    if known.status == "awaiting_items":\n        return _set_aside(order_id, items, shelf)\n',
        '    if known.status == "awaiting_items":\n        return Change(known)\n',
    ),
    Mutant(
        "drop a payment that comes before order.created",
        "inventory_service/domain.py",
        '        return Change(Reservation(order_id, "awaiting_items", ()))\n',
        '        return Change(Reservation(order_id, "cancelled", ()))\n',
    ),
    Mutant(
        "reserve what is there and leave the rest",
        "inventory_service/domain.py",
        '    if missing:\n        return Change(Reservation(order_id, "failed"',
        '    if missing and not taken:\n        return Change(Reservation(order_id, "failed"',
    ),
    Mutant(
        "refund twice",
        "payment_service/domain.py",
        '    if known.status != "charged":\n        return known\n    if isinstance(answer, Refund):',
        '    if isinstance(answer, Refund) or known.status == "refunded":',
    ),
    Mutant(
        "do not refund what was charged",
        "payment_service/domain.py",
        'return "refund" if known is not None and known.status == "charged" else None',
        "return None",
    ),
    Mutant(
        "let followers overtake the blocked key",
        "eventbus/engine/parking.py",
        "            behind = part.blocked is None and key in blocked\n",
        "            behind = False\n",
    ),
    Mutant(
        "look for the blocked key only where the trouble began, on one topic",
        "eventbus/engine/parking.py",
        "            behind = part.blocked is None and key in blocked\n",
        "            behind = part.blocked is None and key in blocked"
        " and blocked[key].topic == item.record.partition.topic\n",
    ),
    Mutant(
        "hold back only the record itself, not what follows",
        "eventbus/engine/parking.py",
        "            item.skipped = behind or key in errors\n",
        "            item.skipped = behind or bool(item.failure)\n",
    ),
    Mutant(
        "unblock the key while a record still waits",
        "eventbus/store/blocked_keys.py",
        "[(block.key,) for block in changed if not block.records]",
        "[(block.key,) for block in changed if block.key in before and block.records <= 1]",
    ),
    Mutant(
        "keep only the first of the records that are to be parked",
        "eventbus/engine/parking.py",
        "    blocked_keys.append(tx, appended)\n",
        "    blocked_keys.append(tx, appended[:1])\n",
        faults="trouble",
    ),
    Mutant(
        "forget what was parked while the records before it were tried again",
        "eventbus/engine/parking.py",
        "            known = after[part.blocked.key]\n",
        "            known = part.blocked\n",
        faults="trouble,stall",
    ),
    Mutant(
        "publish dead letters from memory only, not from the outbox",
        "eventbus/engine/decision.py",
        "    decided.entries = progress.add(tx, decided.entries)\n",
        "    kept = {p: [o for o in e.outputs if 'dead-letters' not in o.topic] for p, e in decided.entries.items()}\n"
        "    progress.add(tx, {p: e._replace(outputs=kept[p]) for p, e in decided.entries.items()})\n",
        faults="poison,crash",
    ),
    Mutant(
        "do not count how often a record was refused",
        "eventbus/deadletters/letter.py",
        'str(int(before.get("dlq_attempts", "0")) + 1)',
        '"1"',
        faults="poison",
    ),
    Mutant(
        "handle what is redriven although its key is in trouble",
        "eventbus/engine/parking.py",
        "            behind = part.blocked is None and key in blocked\n",
        "            redriven = item.record.partition.topic.endswith('.resolutions')\n"
        "            behind = part.blocked is None and key in blocked and not redriven\n",
        faults="poison,trouble",
    ),
    Mutant(
        "name the resolution as the cause of what a redriven record leads to",
        "eventbus/engine/handlers.py",
        "source.address, _trace",
        "item.record.address, _trace",
        faults="poison",
    ),
    Mutant(
        "look which dead letters are resolved before taking over from who is at it",
        "saga/deadletters/resolve.py",
        "        producers.start()\n",
        "",
        faults="poison",
    ),
    Mutant(
        "write resolutions again when it is not known whether they were written",
        "saga/deadletters/resolve.py",
        "        try:\n            producers.transaction([resolution(",
        "        with contextlib.suppress(CommitOutcomeUnknown):\n"
        "            producers.transaction(\n"
        "                [resolution(topic, letter.record, order.action, statement) for letter in batch], [])\n"
        "            yield from batch\n"
        "            continue\n"
        "        try:\n            producers.transaction([resolution(",
        (("from __future__ import annotations\n", "from __future__ import annotations\n\nimport contextlib\n"),),
        faults="poison",
    ),
    Mutant(
        "handle the last resolution again after a recovery",
        "eventbus/engine/recoverer.py",
        "                owned.reached = owned.checkpoint.next_offset\n",
        "                back = 2 if owned.partition.topic.endswith('.resolutions') else 0\n"
        "                owned.reached = max(0, owned.checkpoint.next_offset - back)\n",
        faults="poison,crash",
    ),
    Mutant(
        "handle what does not lie where its key belongs",
        "eventbus/engine/intake.py",
        "items.append(self._placement.judge(item) if self._placement else item)",
        "items.append(item)",
        faults="poison",
    ),
    Mutant(
        "judge a redriven record by where its resolution lies",
        "eventbus/engine/placement.py",
        "item.source.partition",
        "item.record.partition",
        faults="poison",
    ),
    Mutant(
        "take the bad record that is one too many for handled",
        "eventbus/engine/handlers.py",
        "            part.cut(index)\n",
        "            part.cut(index + 1)\n",
        faults="poison",
    ),
    Mutant(
        "go past what cannot be read without being told to",
        "eventbus/kafka/log.py",
        "            self._unreadable[where] = (message.offset(), error.str())\n",
        "            return where, message.offset() + 1\n",
        faults="unreadable",
    ),
    Mutant(
        "skip one record more than what cannot be read",
        "saga/kafka/unreadable.py",
        "        return outside\n",
        "        return outside + 1\n",
        faults="unreadable",
    ),
    Mutant(
        "skip what cannot be read without writing it down",
        "saga/deadletters/skip.py",
        "        progress.add(tx, {partition: OutboxEntry(after.outbox_seq, [record])})\n",
        "",
        (("before.outbox_seq + 1, before.epoch)", "before.outbox_seq, before.epoch)"),),
        faults="unreadable",
    ),
    Mutant(
        "do not wait for what is undecided before what was resolved is read",
        "saga/deadletters/resolve.py",
        "        where.await_decisions(group + RESOLUTIONS)\n",
        "",
        faults="poison,unreadable",
    ),
    Mutant(
        "take a registry that does not answer for one that does not know",
        "eventbus/engine/delivery.py",
        "        return Delivery(record, source, poison=PoisonRecord(poison.reason, str(poison)))\n",
        "        return Delivery(record, source, poison=PoisonRecord(poison.reason, str(poison)))\n"
        "    except ConnectionError:\n"
        "        return Delivery(record, source, poison=PoisonRecord('unknown_schema_id', 'away'))\n",
        faults="registry",
    ),
    Mutant(
        "write no witness",
        "eventbus/kafka/log.py",
        "for p, committed in offsets.items() if committed.database]",
        "for p, committed in offsets.items() if False]",
        faults="lost cursors",
    ),
    Mutant(
        "do not let the witness replace a lost committed offset",
        "eventbus/store/age.py",
        "    if witness is None:\n        return committed\n",
        "    return committed\n",
        faults="lost cursors",
    ),
    Mutant(
        "only own partitions compared",
        "eventbus/engine/recovery.py",
        "    if epochs != {",
        "    rows = {p: row for p, row in rows.items() if p in published}\n"
        "    evidence = Evidence(*({p: c for p, c in kind.items() if p in published} for kind in evidence))\n"
        "    if epochs != {",
        (("    if witnesses:\n        _judge_age(", "    if False:\n        _judge_age("),),
        faults="old database",
    ),
    Mutant(
        "quarantine not looked at",
        "eventbus/store/quarantine.py",
        "    if unreleased:\n",
        "    if False:\n",
        faults="old database",
    ),
    Mutant(
        "deadline: forget to clear it with the order that it cancels",
        "order_service/domain.py",
        "        return _without_deadline(cancelled)\n",
        "        return cancelled\n",
    ),
    Mutant(
        "deadline: leave it with a confirmed order, and cancel whatever is overdue",
        "order_service/domain.py",
        '"confirmed", reason, refunded, now, None, None)',
        '"confirmed", reason, refunded, now, order.deadline_at, order.deadline_set_at)',
        (('    if order.status != "pending":\n        return _without_deadline(order)\n', ""),),
    ),
    Mutant(
        "deadline: do not read it again before it is fired",
        "eventbus/engine/firing.py",
        "item.lapsed = row is None or row[1] != item.record.offset",
        "item.lapsed = False",
    ),
    Mutant(
        "deadline: fire from a zombie",
        "eventbus/engine/decision.py",
        "                compare(tx, owned)\n",
        "                if not parts_are_due(batch.parts):\n                    compare(tx, owned)\n",
        (
            (
                "class _DecisionBatch(NamedTuple):\n",
                "def parts_are_due(parts):\n    return parts and parts[0].due\n\n\nclass _DecisionBatch(NamedTuple):\n",
            ),
        ),
    ),
    Mutant(
        "deadline: lose what it causes",
        "eventbus/engine/decision.py",
        "if item.output is not None]",
        "if item.output is not None and not part.due]",
    ),
    Mutant(
        "deadline: wait for what a clock that was ahead has set",
        "eventbus/engine/deadlines.py",
        "            if last_set is not None and last_set > now_ms + CLOCKS_DIFFER_MS:\n",
        "            if False:\n",
        faults="poison",
    ),
    Mutant(
        "deadline: fire it although its key is blocked",
        "eventbus/store/deadlines.py",
        '    return f"(select 1 from fence where fence.key = {column.table}.{column.key}) is null"\n',
        '    return "1 = 1"\n',
        faults="trouble",
    ),
    Mutant(
        "confirm an order that a person cancelled",
        "order_service/domain.py",
        '    if order.status == "pending":\n        order_id, total',
        '    if order.status != "confirmed":\n        order_id, total',
    ),
    Mutant(
        "cancel an order that is confirmed",
        "order_service/domain.py",
        '    if order.status == "confirmed":\n        raise AlreadyConfirmed(',
        '    if order.status == "confirmed":\n'
        '        return order._replace(status="cancelled", reason=reason, updated_at=now)\n'
        "    if not order:\n        raise AlreadyConfirmed(",
    ),
    Mutant(
        "cancel an order without telling anybody",
        "order_service/service.py",
        "                publish(tx, codec, self.name, [OrderCancelled(",
        "                str([OrderCancelled(",
        (("cause=REQUEST)], trace)", "cause=REQUEST)])"),),
    ),
    Mutant(
        "publish every request to cancel, also of what is cancelled",
        "order_service/service.py",
        "            if after is not before:\n                orders.put",
        "            if after:\n                orders.put",
    ),
    Mutant(
        "burn no key of an order that was cancelled before it was charged",
        "payment_service/domain.py",
        '    return "void" if known.status == "cancelled" else None\n',
        "    return None\n",
        (
            (
                "        if isinstance(answer, NothingTaken):\n            return known\n",
                "        if isinstance(answer, (NothingTaken, NotAsked)):\n            return known\n",
            ),
        ),
        faults="provider,slow provider,crash",
    ),
    Mutant(
        "set aside for an order that was cancelled before it was paid",
        "inventory_service/domain.py",
        '    if known.status == "awaiting_payment":\n',
        '    if known.status in ("awaiting_payment", "cancelled"):\n',
    ),
    Mutant(
        "publish the release of what was never set aside",
        "inventory_service/domain.py",
        'return before is not None and before.status == "reserved" and after.status != "reserved"',
        'return before is not after and after.status == "cancelled"',
    ),
    Mutant(
        "release what is reserved without publishing it",
        "inventory_service/service.py",
        "return InventoryReleased(order_id) if was_released(known, after) else None",
        "return None",
    ),
)

"""A model of Kafka's group coordinator: classic protocol, cooperative rebalancing, static members.

A process that is alive sends heartbeats and joins by itself, from the client's own threads; callbacks wait for its next
poll, and the group waits for it to have them behind it. A process that stands still does none of that until its
session has expired (KIP-429, KIP-345).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException

from eventbus.log import Partition


@dataclass(slots=True)
class Host:
    """The process that a client lives in; it sends no heartbeat from `silent_since` on."""

    silent_since: float | None = None


@dataclass(slots=True, eq=False)
class Member:
    """One consumer in the group."""

    id: str
    instance: str | None
    host: Host
    topics: tuple[str, ...]
    generation: int = -1
    owned: dict[Partition, None] = field(default_factory=dict)
    """What the client holds, whatever the group thinks."""
    to_revoke: list[Partition] = field(default_factory=list)
    to_assign: list[Partition] = field(default_factory=list)
    fenced: bool = False
    evicted: bool = False


def never() -> bool:
    """Nothing of the kind happens."""
    return False


class Group:
    """The members of one group and its committed offsets."""

    def __init__(self, clock: Callable[[], float], topics: Mapping[str, int], session_seconds: float) -> None:
        self.generation = 0
        self.offsets: dict[Partition, tuple[int, str]] = {}
        self.hasty: Callable[[], bool] = never
        """Draws whether a partition is given away before its owner has revoked it (measured, ADR 8)."""
        self._clock, self._topics, self._session_seconds = clock, topics, session_seconds
        self._members: dict[str, Member] = {}
        self._rebalancing = False
        self._ticked_at = -1.0
        self._joined = 0

    def join(self, instance: str | None, host: Host, topics: Iterable[str]) -> Member:
        """Take a member in. One of the same instance is fenced, and its partitions go to the new one at once."""
        self._joined += 1
        member = Member(f"{instance or 'member'}-{self._joined}", instance, host, tuple(topics))
        old = next((m for m in self._members.values() if instance is not None and m.instance == instance), None)
        self._members[member.id] = member
        if old is None:
            self.rebalance()
            return member
        del self._members[old.id]
        old.fenced = True
        member.generation = self.generation
        member.to_assign = [p for p in (*old.owned, *old.to_assign) if p not in old.to_revoke]
        return member

    def join_again(self, member: Member) -> Member:
        """Take in who was thrown out, under a new id."""
        again = self.join(member.instance, member.host, member.topics)
        again.owned = member.owned
        return again

    def resubscribe(self, member: Member, topics: Iterable[str]) -> None:
        """Take in that a member wants other topics."""
        if member.topics != tuple(topics):
            member.topics = tuple(topics)
            self.rebalance()

    def described(self) -> tuple[bool, dict[str, list[Partition]]]:
        """Return whether the group is stable, and what it gave to which instance."""
        stable = not self._rebalancing and not any(map(_keeps_waiting, self._members.values()))
        return stable, {
            member.instance or member.id: [*(p for p in member.owned if p not in member.to_revoke), *member.to_assign]
            for member in self._members.values()
        }

    def leave(self, member: Member) -> None:
        """Take a dynamic member away; a static one is expected back until its session expires."""
        if member.instance is None and self._members.pop(member.id, None) is not None:
            self.rebalance()

    def rebalance(self) -> None:
        """Ask everybody to join again."""
        self._rebalancing = True

    def check(self, member_id: str, generation: int) -> None:
        """Raise what the coordinator answers to offsets of a member that it does not know like this."""
        if member_id not in self._members:
            raise _refused(KafkaError.UNKNOWN_MEMBER_ID, "the member is unknown")
        if generation != self.generation:
            raise _refused(KafkaError.ILLEGAL_GENERATION, f"the generation is {self.generation}, not {generation}")

    def tick(self) -> None:
        """Throw out whose session has expired, and finish a rebalance when everybody has joined."""
        now = self._clock()
        if now == self._ticked_at and not self._rebalancing:
            return
        self._ticked_at = now
        silent = [(m, m.host.silent_since) for m in self._members.values() if m.host.silent_since is not None]
        for member, since in silent:
            if now - since > self._session_seconds:
                del self._members[member.id]
                member.evicted = True
                self._rebalancing = True
        if self._rebalancing and self._members and not any(map(_keeps_waiting, self._members.values())):
            self._assign()

    def _assign(self) -> None:
        """Give out what is free; who has too much is asked to revoke that first, and then everybody joins again."""
        self._rebalancing = False
        self.generation += 1
        members = list(self._members.values())
        target = _balanced(members, self._topics)
        for member in members:
            member.generation = self.generation
            member.to_revoke = [p for p in member.owned if target.get(p) is not member]
        held = {p: m for m in members for p in m.owned}
        for partition, member in target.items():
            if partition not in member.owned and (partition not in held or self.hasty()):
                member.to_assign.append(partition)


def _keeps_waiting(member: Member) -> bool:
    return member.host.silent_since is not None or bool(member.to_revoke or member.to_assign)


def _balanced(members: list[Member], topics: Mapping[str, int]) -> dict[Partition, Member]:
    """Return who shall have which partition: as evenly as possible, and as before where possible."""
    names = sorted({topic for member in members for topic in member.topics})
    partitions = [Partition(name, number) for number in range(max(topics.values())) for name in names]
    partitions = [p for p in partitions if p.number < topics[p.topic]]
    most = math.ceil(len(partitions) / len(members))
    share = dict.fromkeys(members, 0)
    target: dict[Partition, Member] = {}
    for partition in partitions:
        owner = next((m for m in members if partition in m.owned and wants(m, partition) and share[m] < most), None)
        if owner is not None:
            target[partition] = owner
            share[owner] += 1
    for partition in partitions:
        if partition not in target:
            owner = min((m for m in members if wants(m, partition)), key=lambda member: share[member])
            target[partition] = owner
            share[owner] += 1
    return {partition: target[partition] for partition in partitions}


def wants(member: Member, partition: Partition) -> bool:
    """Return whether the member subscribes to the partition's topic."""
    return partition.topic in member.topics


def _refused(code: int, why: str) -> KafkaException:
    return KafkaException(KafkaError(code, why, False, False, True))

"""A model of Kafka's group coordinator: classic protocol, eager rebalancing, the assignor `range`, static members.

A running process sends heartbeats from the client's own threads; callbacks wait for its next poll. In a rebalance each
member revokes everything and joins again, and the group waits for all of them. A stalled process does none of that
until its session has expired (KIP-345).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException

from eventbus.log import Partition


@dataclass(slots=True)
class GroupHost:
    """The process of a client; it has sent no heartbeats since `silent_since`."""

    silent_since: float | None = None


@dataclass(slots=True, eq=False)
class Member:
    """One consumer in the group."""

    id: str
    instance: str | None
    host: GroupHost
    topics: tuple[str, ...]
    generation: int = -1
    owned: dict[Partition, None] = field(default_factory=dict)
    """The partitions that the client considers its own, whatever the group's assignment is."""
    joined: bool = False
    """It has revoked everything and waits for the end of the rebalance."""
    to_revoke: list[Partition] = field(default_factory=list)
    to_assign: list[Partition] | None = None
    fenced: bool = False
    evicted: bool = False


def never() -> bool:
    """Never."""
    return False


class Group:
    """The members of one group and its committed offsets."""

    def __init__(self, clock: Callable[[], float], topics: Mapping[str, int], session_seconds: float) -> None:
        self.generation = 0
        self.offsets: dict[Partition, tuple[int, str]] = {}
        self.hasty: Callable[[], bool] = never
        """Returns, at random, whether a partition is reassigned before its owner has revoked it.

        Cooperative rebalances did that (measured, ADR 8); the guarantees do not depend on eager ones.
        """
        self.apart = False
        """Equal numbers of two topics go to different members, as where one topic has more partitions (ADR 13)."""
        self._clock, self._topics, self._session_seconds = clock, topics, session_seconds
        self._members: dict[str, Member] = {}
        self._leader = ""
        self._in_haste = False
        self._rebalancing = False
        self._ticked_at = -1.0
        self._joined = 0

    def join(self, instance: str | None, host: GroupHost, topics: Iterable[str]) -> Member:
        """Add a member. One of the same instance is fenced, and its partitions go to the new one at once."""
        self._joined += 1
        member = Member(f"{instance or 'member'}-{self._joined}", instance, host, tuple(topics))
        old = next((m for m in self._members.values() if instance is not None and m.instance == instance), None)
        self._members[member.id] = member
        if old is None:
            self.rebalance()
            return member
        del self._members[old.id]
        old.fenced = True
        if self._leader == old.id:
            self._leader = member.id
        member.joined = self._rebalancing
        if not self._rebalancing:
            member.generation = self.generation
            member.to_assign = _given(old)
        return member

    def join_again(self, member: Member) -> None:
        """A member without partitions joins again: only for the leader does the group rebalance."""
        if self._rebalancing or member.id == self._leader:
            member.owned, member.to_revoke, member.joined = {}, [], True
            self.rebalance()
        else:
            member.to_assign, member.owned, member.to_revoke = _given(member), {}, []

    def join_claiming(self, member: Member) -> Member:
        """Add an evicted member again, under a new id, with all partitions that it owned."""
        self._in_haste = True
        again = self.join(member.instance, member.host, member.topics)
        again.owned = member.owned
        return again

    def leave(self, member: Member) -> None:
        """Remove a dynamic member; a static one remains until its session expires."""
        if member.instance is None and self._members.pop(member.id, None) is not None:
            self.rebalance()

    def rebalance(self) -> None:
        """Have all members join again."""
        self._rebalancing = True

    def check(self, member_id: str, generation: int) -> None:
        """Raise the coordinator's error for offsets of an unknown member or of another generation."""
        if member_id not in self._members:
            raise _refused(KafkaError.UNKNOWN_MEMBER_ID, "the member is unknown")
        if generation != self.generation:
            raise _refused(KafkaError.ILLEGAL_GENERATION, f"the generation is {self.generation}, not {generation}")

    def tick(self) -> None:
        """Evict members whose session has expired, and finish a rebalance when all members have joined."""
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
        if self._rebalancing and self._members:
            target = self._target()
            moves = any(target.get(p) is not m for m in self._members.values() for p in m.owned)
            self._in_haste = self._in_haste or (moves and self.hasty())
            if self._in_haste:
                self._assign_in_haste(target)
            else:
                self._continue_rebalance(target)

    def _continue_rebalance(self, target: dict[Partition, Member]) -> None:
        """Have all members revoke their partitions, and end the rebalance when they have."""
        for member in self._members.values():
            if not member.joined and not _has_to_poll(member):
                member.to_revoke = list(member.owned)
                member.joined = not member.owned
        if all(member.joined and member.host.silent_since is None for member in self._members.values()):
            self._next_generation()
            for member in self._members.values():
                member.to_assign = [partition for partition, owner in target.items() if owner is member]

    def _assign_in_haste(self, target: dict[Partition, Member]) -> None:
        """Reassign partitions before their owners have revoked them; members keep the partitions that do not move."""
        if any(member.host.silent_since is not None or _has_to_poll(member) for member in self._members.values()):
            return
        self._next_generation()
        for member in self._members.values():
            member.to_revoke = [p for p in member.owned if target.get(p) is not member]
            member.to_assign = [p for p, owner in target.items() if owner is member and p not in member.owned] or None

    def _next_generation(self) -> None:
        self._rebalancing = False
        self.generation += 1
        if self._leader not in self._members:
            self._leader = min(self._members)
        for member in self._members.values():
            member.generation = self.generation
            member.joined = False

    def _target(self) -> dict[Partition, Member]:
        """Return the member for each partition: of each topic an even share of consecutive numbers."""
        members = sorted(self._members.values(), key=lambda member: (member.instance or "", member.id))
        target = {}
        for topic, count in self._topics.items():
            readers = [member for member in members if topic in member.topics]
            for number in range(count if readers else 0):
                target[Partition(topic, number)] = readers[_share(number, count, len(readers))]
            if self.apart and readers:
                members = members[1:] + members[:1]
        return target

    def revoked(self, member: Member) -> None:
        """A member has revoked the partitions in `to_revoke`."""
        member.owned = {p: None for p in member.owned if p not in member.to_revoke}
        member.to_revoke = []
        member.joined = self._rebalancing and not member.owned and member.to_assign is None


def _has_to_poll(member: Member) -> bool:
    return bool(member.to_revoke) or member.to_assign is not None


def _given(member: Member) -> list[Partition]:
    """Return what the group has given to a member in this generation, whether the member knows it yet or not."""
    return [*(p for p in member.owned if p not in member.to_revoke), *(member.to_assign or ())]


def _share(number: int, partitions: int, members: int) -> int:
    """Return the number of a partition's member: consecutive partitions, and the remainder to the first members."""
    each, more = divmod(partitions, members)
    first = more * (each + 1)
    return number // (each + 1) if number < first else more + (number - first) // each


def _refused(code: int, why: str) -> KafkaException:
    return KafkaException(KafkaError(code, why, False, False, True))

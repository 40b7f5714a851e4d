-- What the tracker knows. Everything here is a function of the records that were read; docs/tracking.md explains it.

create table events (
    order_id  text not null,
    topic     text not null,
    partition integer not null,
    offset    integer not null,
    at        integer not null,
    service   text not null,
    schema_id integer not null,
    cause     text,
    fields    text not null,
    primary key (order_id, topic, partition, offset)
);

create unique index events_by_address on events (topic, partition, offset);

create table orders (
    order_id    text primary key,
    status      text not null,
    customer_id text,
    total       integer,
    currency    text,
    placed_at   integer not null,
    updated_at  integer not null,
    ended_at    integer,
    ending      text,
    failed_at   text,
    waiting_on  text,
    undone      text,
    cancel_at   integer,
    ended_by    text,
    events      integer not null,
    violations  integer not null,
    seen        integer not null,
    body_at     integer
);

-- The end of an id is what people read to each other; see queries.END.
create index orders_by_end on orders (substr(order_id, -4));
create index orders_by_time on orders (placed_at);
create index orders_by_status on orders (status, placed_at);
create index orders_by_customer on orders (customer_id, placed_at);
create index orders_by_failure on orders (failed_at, placed_at) where failed_at is not null;
create index orders_undone on orders (undone, placed_at) where undone is not null;
create index orders_cancelling on orders (cancel_at) where cancel_at is not null;
create index orders_by_cause_of_end on orders (ended_by, placed_at) where ended_by is not null;
create index orders_waiting on orders (waiting_on, placed_at) where waiting_on is not null;
create index orders_stuck on orders (updated_at) where waiting_on is not null;

-- How many orders there are of each kind: of those that have the same events and ended the same way.
create table kinds (
    seen     integer not null,
    ending   text not null,
    ended_by text not null,
    orders   integer not null,
    primary key (seen, ending, ended_by)
) without rowid;

create view steps as
select
    effect.order_id,
    cause.topic as cause,
    effect.topic as event,
    effect.service,
    cause.at as began_at,
    effect.at as ended_at,
    effect.at - cause.at as milliseconds
from events as effect
join events as cause
    on cause.order_id = effect.order_id
    and effect.cause = cause.topic || '/' || cause.partition || '/' || cause.offset;

create table violations (
    kind      text not null,
    order_id  text not null,
    topic     text not null,
    partition integer not null,
    offset    integer not null,
    at        integer not null,
    detail    text not null,
    primary key (order_id, topic, partition, offset, kind)
) without rowid;

create index violations_by_time on violations (at);

-- How far the log is read. next_offset is the position after what was read, markers of transactions included; log_end
-- is where the partition ended when that was last heard.
create table progress (
    topic       text not null,
    partition   integer not null,
    next_offset integer not null,
    log_end     integer not null,
    primary key (topic, partition)
) without rowid;

create table meta (
    name  text primary key,
    value text not null
) without rowid;

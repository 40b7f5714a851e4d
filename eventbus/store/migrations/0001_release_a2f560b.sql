-- The runtime's tables as release a2f560b made them: version 1. Frozen.

create table service (
    name text primary key                -- whose database this is
);

create table checkpoint (                -- how far the input is applied: one row a partition
    topic text not null,
    partition integer not null,
    next_offset bigint not null,         -- the log position that is read next
    position bigint not null,            -- the number of the last outbox entry made for this partition
    epoch bigint not null,               -- which recovery it belongs to: a worker of an older one decides nothing more
    cluster_id text not null,            -- another cluster, or a recreated topic, is noticed, not mistaken
    topic_id text not null,
    primary key (topic, partition)
);

create table outbox (                    -- the encoded outputs of one batch of one partition
    topic text not null,
    partition integer not null,
    position bigint not null,
    records bytea not null,
    primary key (topic, partition, position)
);

create table uncaused (                  -- events without a cause in the log, waiting for their turn
    id text primary key,                 -- their ce_id; sorts by time
    records bytea not null
);

create table fence (                     -- a key in trouble: its records are parked, and tried again in order
    key text primary key,
    topic text not null,
    partition integer not null,          -- whose owner tries again: where the record lies on which a handler raised
    first bigint not null,               -- the positions of the first and the last parked record
    last bigint not null,
    attempts integer not null,           -- so often in a row the first one was tried
    since_ms bigint not null,            -- milliseconds since 1970
    retry_at_ms bigint not null,
    error text not null
);

create table parked (                    -- records that wait behind a fence, as they were on the log
    key text not null,
    position bigint not null,
    topic text not null,
    partition integer not null,
    log_offset bigint not null,
    timestamp_ms bigint not null,
    record bytea not null,               -- key, value and headers (MessagePack)
    primary key (key, position)
);

create index fence_retry_at on fence (retry_at_ms);

create table intervention (              -- what people did about parked records
    id text primary key,                 -- sorts by time
    at_ms bigint not null,
    action text not null,                -- retry or discard
    key text not null,
    address text not null,               -- topic/partition/offset of the record
    error text not null,                 -- what was wrong with it
    by_whom text not null,
    reason text not null,
    record bytea not null                -- key, value and headers of what was discarded (MessagePack)
);

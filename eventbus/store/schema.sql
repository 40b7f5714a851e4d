-- The runtime's own tables. Written for SQLite and PostgreSQL alike.

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
    leader_epoch integer,                -- a leader epoch in which the log reached leader_epoch_offset; null: not known.
    leader_epoch_offset bigint,          -- It counts only where this is next_offset: older workers move only that
    primary key (topic, partition)
);

create table output_topic (              -- to which incarnation of a topic this service publishes
    topic text primary key,
    topic_id text not null,
    max_bytes bigint                     -- the largest record that it takes, as a worker last saw it
);

create table outbox (                    -- the encoded outputs of one batch of one partition
    topic text not null,
    partition integer not null,
    position bigint not null,
    records bytea not null,
    primary key (topic, partition, position)
);

create table uncaused (                  -- events without a cause in the log, waiting for their turn
    id text primary key,                 -- their ce_id
    records bytea not null,
    number bigint not null default 0     -- they are published in this order; older workers insert 0, and look at the id
);

create index uncaused_number on uncaused (number, id);

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

create table incarnation (               -- which database this is; its copies share the id. The newest row counts
    number integer primary key,
    id text not null,
    at_ms bigint not null,               -- milliseconds since 1970
    by_whom text not null,
    reason text not null
);

create table quarantine (                -- the database was found older than the log: no worker goes on
    id text primary key,                 -- sorts by time
    at_ms bigint not null,
    instance text not null,              -- the worker that found it
    reason text not null,
    released_at_ms bigint,               -- null: a person has to decide
    released_by text,
    release_reason text
);

create table instance_lease (            -- which worker has which instance name; released when it stops
    name text primary key,
    nonce text not null,                 -- drawn by the worker
    host text not null,                  -- its host's name, for people
    pid bigint not null,
    place text not null,                 -- where the pid means something: boot id and pid namespace, or empty
    start text not null,                 -- when the process started, as its kernel counts
    beat bigint not null,                -- counts the renewals: a lease that does not change is a dead worker's
    started_at_ms bigint not null,       -- by the worker's clock, for people only
    heartbeat_at_ms bigint not null
);

create table instance_wait (             -- why a worker retries in place, for people; no row while it does not
    name text primary key,               -- of its instance
    why text not null
);

create table schema_id (                 -- the ids that this service writes its events with, and whose they are
    topic text not null,
    fingerprint text not null,           -- of the event's schema (SHA-256)
    id bigint not null,
    source text not null,                -- registry, or released: the file that ships with the code
    primary key (topic, fingerprint)
);

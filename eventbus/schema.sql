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

-- Instance names are leased: a worker that holds a live lease is the only one of its name.

create table instance_lease (
    name text primary key,
    nonce text not null,
    host text not null,
    pid bigint not null,
    place text not null,
    start text not null,
    beat bigint not null,
    started_at_ms bigint not null,
    heartbeat_at_ms bigint not null
);

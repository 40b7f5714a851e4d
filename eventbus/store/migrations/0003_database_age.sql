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

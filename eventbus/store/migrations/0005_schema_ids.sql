-- Whose schema ids a service writes with is remembered: who has others is refused.

create table schema_id (
    topic text not null,
    fingerprint text not null,
    id bigint not null,
    source text not null,
    primary key (topic, fingerprint)
);

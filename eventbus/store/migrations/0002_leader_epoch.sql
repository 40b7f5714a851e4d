-- A log whose end was lost, and an output topic that was created again, are noticed.

alter table checkpoint add column leader_epoch integer;
alter table checkpoint add column leader_epoch_offset bigint;
create table output_topic (              -- to which incarnation of a topic this service publishes
    topic text primary key,
    topic_id text not null
);

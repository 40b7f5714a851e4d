-- An event that its topic would not take is refused before it is decided on, where that is possible.

alter table output_topic add column max_bytes bigint;

-- Root events leave in the order in which they were made, not in that of their ids.

alter table uncaused add column number bigint not null default 0;
create index uncaused_number on uncaused (number, id);

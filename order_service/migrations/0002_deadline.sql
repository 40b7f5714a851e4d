-- An order may cancel itself. Those that are there have no deadline, until a worker is told to give them one.

alter table orders add column deadline_at bigint;
alter table orders add column deadline_set_at bigint;
create index orders_deadline_at on orders (deadline_at) where deadline_at is not null;
create index orders_deadline_set_at on orders (deadline_set_at) where deadline_set_at is not null;

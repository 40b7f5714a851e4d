-- `saga workers` and the page say why a worker waits.

create table instance_wait (
    name text primary key,
    why text not null
);

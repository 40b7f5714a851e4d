-- The tables as release a2f560b made them: version 1. Frozen.

create table reservation (
    order_id text primary key,
    status text not null check (  -- not `in (...)`: for that SQLite builds a small table at each row
        status = 'awaiting_payment' or status = 'awaiting_items' or status = 'reserved' or status = 'failed' or status = 'cancelled'
    ),
    items text not null,                 -- JSON: [["sku", quantity], ...]; empty as long as they are not known
    error text                           -- what is out of stock
);

create table stock (
    sku text primary key,
    on_hand bigint not null check (on_hand >= 0),
    reserved bigint not null default 0 check (reserved between 0 and on_hand)
);

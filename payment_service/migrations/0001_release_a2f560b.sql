-- The tables as release a2f560b made them: version 1. Frozen.

create table payment (
    order_id text primary key,
    payment_id text,                     -- the provider's id of the charge
    amount bigint not null check (amount >= 0),  -- minor units; 0 for a cancellation that came first
    currency text not null,                      -- ISO 4217; empty for a cancellation that came first
    status text not null check (  -- not `in (...)`: for that SQLite builds a small table at each row
        status = 'charged' or status = 'declined' or status = 'refunded' or status = 'cancelled'
    ),
    error text                           -- why it was declined
);

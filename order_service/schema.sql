create table orders (
    order_id text primary key,
    request_id text unique,              -- the customer's own key: the same one gives the same order
    customer_id text not null,
    total bigint not null check (total >= 0),                  -- minor units
    currency text not null,                                    -- ISO 4217
    items text not null,                                       -- JSON: [["sku", quantity], ...]
    status text not null check (  -- not `in (...)`: for that SQLite builds a small table at each row
        status = 'pending' or status = 'confirmed' or status = 'cancelled'
    ),
    reason text,                                               -- why it was cancelled
    refunded bigint not null default 0 check (refunded >= 0),  -- minor units given back
    created_at bigint not null,                                -- ms since 1970 UTC
    updated_at bigint not null,
    deadline_at bigint,                                        -- when it cancels itself; null: never, or not any more
    deadline_set_at bigint                                     -- when that was decided: the difference is its length
);

create index orders_deadline_at on orders (deadline_at) where deadline_at is not null;
create index orders_deadline_set_at on orders (deadline_set_at) where deadline_set_at is not null;

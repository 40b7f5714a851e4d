create table payment (
    order_id text primary key,
    payment_id text,                     -- the provider's id of the charge
    amount bigint not null check (amount >= 0),  -- minor units; 0 for a cancellation that came first
    currency text not null,                      -- ISO 4217; empty for a cancellation that came first
    status text not null check (status in ('charged', 'declined', 'refunded', 'cancelled')),
    error text                           -- why it was declined
);

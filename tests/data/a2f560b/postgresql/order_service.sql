CREATE SCHEMA order_service;
CREATE TABLE order_service.checkpoint (
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    "position" bigint NOT NULL,
    epoch bigint NOT NULL,
    cluster_id text NOT NULL,
    topic_id text NOT NULL
);
CREATE TABLE order_service.fence (
    key text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    first bigint NOT NULL,
    last bigint NOT NULL,
    attempts integer NOT NULL,
    since_ms bigint NOT NULL,
    retry_at_ms bigint NOT NULL,
    error text NOT NULL
);
CREATE TABLE order_service.intervention (
    id text NOT NULL,
    at_ms bigint NOT NULL,
    action text NOT NULL,
    key text NOT NULL,
    address text NOT NULL,
    error text NOT NULL,
    by_whom text NOT NULL,
    reason text NOT NULL,
    record bytea NOT NULL
);
CREATE TABLE order_service.orders (
    order_id text NOT NULL,
    request_id text,
    customer_id text NOT NULL,
    total bigint NOT NULL,
    currency text NOT NULL,
    items text NOT NULL,
    status text NOT NULL,
    reason text,
    refunded bigint DEFAULT 0 NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    CONSTRAINT orders_refunded_check CHECK ((refunded >= 0)),
    CONSTRAINT orders_status_check CHECK (((status = 'pending'::text) OR (status = 'confirmed'::text) OR (status = 'cancelled'::text))),
    CONSTRAINT orders_total_check CHECK ((total >= 0))
);
CREATE TABLE order_service.outbox (
    topic text NOT NULL,
    partition integer NOT NULL,
    "position" bigint NOT NULL,
    records bytea NOT NULL
);
CREATE TABLE order_service.parked (
    key text NOT NULL,
    "position" bigint NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    log_offset bigint NOT NULL,
    timestamp_ms bigint NOT NULL,
    record bytea NOT NULL
);
CREATE TABLE order_service.schema_version (
    component text NOT NULL,
    version integer NOT NULL,
    oldest_compatible integer NOT NULL
);
CREATE TABLE order_service.service (
    name text NOT NULL
);
CREATE TABLE order_service.uncaused (
    id text NOT NULL,
    records bytea NOT NULL
);
INSERT INTO order_service.checkpoint VALUES ('inventory.reservation.failed', 0, 2, 1, 4, 'AHV-3MwnT2akkbIL1G8Y3Q', 'M7xydDP+THihzKOGBRMoJQ');
INSERT INTO order_service.checkpoint VALUES ('order-service.dead-letters.resolutions', 0, 0, 0, 4, 'AHV-3MwnT2akkbIL1G8Y3Q', 'MAK800xsSAyEXF7gUh6fAg');
INSERT INTO order_service.checkpoint VALUES ('payment.failed', 0, 0, 0, 4, 'AHV-3MwnT2akkbIL1G8Y3Q', 'dsk2l53IQyqy0xiqMLc+Ww');
INSERT INTO order_service.checkpoint VALUES ('payment.refunded', 0, 2, 0, 4, 'AHV-3MwnT2akkbIL1G8Y3Q', 'T5V94KiMTHC1Cen5/2FPPg');
INSERT INTO order_service.checkpoint VALUES ('inventory.reserved', 0, 8, 14, 4, 'AHV-3MwnT2akkbIL1G8Y3Q', 'V+X5Z0aXTH+a8amaYRHa3g');
INSERT INTO order_service.orders VALUES ('01a22397-7262-74cb-a6b0-1fadfe1eb345', NULL, '42', 2933, 'USD', '[["cd-1",1]]', 'confirmed', NULL, 0, 1795893457506, 1795893457778);
INSERT INTO order_service.orders VALUES ('01a22397-78fb-7471-b60a-2c04e7fab523', NULL, '42', 2933, 'USD', '[["cd-1",1]]', 'confirmed', NULL, 0, 1795893459195, 1795893459345);
INSERT INTO order_service.orders VALUES ('01a22397-7f6b-7309-9d3f-c3b29c2c9e2e', NULL, '42', 2933, 'USD', '[["cd-2",1]]', 'confirmed', NULL, 0, 1795893460843, 1795893461013);
INSERT INTO order_service.orders VALUES ('01a22397-8625-7152-9481-f1bfa05dbf4f', NULL, '42', 2933, 'USD', '[["cd-2",1]]', 'cancelled', 'out of stock: 1 of cd-2 wanted, 0 left', 2933, 1795893462565, 1795893462774);
INSERT INTO order_service.orders VALUES ('01a22397-8e72-73c6-8b1a-742e3bfb2152', NULL, '42', 90000, 'USD', '[["cd-1",1]]', 'confirmed', NULL, 0, 1795893464690, 1795893464811);
INSERT INTO order_service.orders VALUES ('01a22397-9b95-7405-b887-d5fdd15b8237', NULL, '42', 2933, 'USD', '[["bad-1",1]]', 'pending', NULL, 0, 1795893468053, 1795893468053);
INSERT INTO order_service.orders VALUES ('01a22397-a26c-7688-a289-09fafb85b5b9', NULL, '42', 2933, 'USD', '[["bad-1",1]]', 'pending', NULL, 0, 1795893469804, 1795893469804);
INSERT INTO order_service.orders VALUES ('01a22397-d294-70d6-bc14-af7a6b6bb72b', NULL, '42', 2933, 'USD', '[["cd-1",1]]', 'pending', NULL, 0, 1795893482132, 1795893482132);
INSERT INTO order_service.orders VALUES ('01a22397-f406-7275-ad7c-0382f9131d89', NULL, '42', 2933, 'USD', '[["cd-1",1]]', 'pending', NULL, 0, 1795893490694, 1795893490694);
INSERT INTO order_service.orders VALUES ('01a22398-0540-7199-8bd4-65c12c497827', NULL, '42', 2933, 'USD', '[["cd-1",1]]', 'pending', NULL, 0, 1795893495104, 1795893495104);
INSERT INTO order_service.orders VALUES ('01a22398-132e-75f1-821b-e4def273d6d0', NULL, '42', 2933, 'USD', '[["cd-1",1]]', 'pending', NULL, 0, 1795893498670, 1795893498670);
INSERT INTO order_service.outbox VALUES ('inventory.reserved', 0, 14, '\x9194ad6f726465722e63726561746564c42430316132323339382d303534302d373139392d386264342d363563313263343937383237c43c00000000094830316132323339382d303534302d373139392d386264342d363563313263343937383237043432ea2d06555344020863642d310200009592ae63655f7370656376657273696f6ec403312e3092a763655f74797065c40d6f726465722e6372656174656492a963655f736f75726365c40d6f726465722d7365727669636592ac636f6e74656e742d74797065c4106170706c69636174696f6e2f6176726f92a563655f6964c4326f726465722e637265617465642f30316132323339382d303534302d373139392d386264342d363563313263343937383237');
INSERT INTO order_service.schema_version VALUES ('runtime', 1, 1);
INSERT INTO order_service.schema_version VALUES ('service', 1, 1);
INSERT INTO order_service.service VALUES ('order-service');
INSERT INTO order_service.uncaused VALUES ('order.created/01a22398-132e-75f1-821b-e4def273d6d0', '\x9194ad6f726465722e63726561746564c42430316132323339382d313332652d373566312d383231622d653464656632373364366430c43c00000000094830316132323339382d313332652d373566312d383231622d653464656632373364366430043432ea2d06555344020863642d310200009592ae63655f7370656376657273696f6ec403312e3092a763655f74797065c40d6f726465722e6372656174656492a963655f736f75726365c40d6f726465722d7365727669636592ac636f6e74656e742d74797065c4106170706c69636174696f6e2f6176726f92a563655f6964c4326f726465722e637265617465642f30316132323339382d313332652d373566312d383231622d653464656632373364366430');
ALTER TABLE ONLY order_service.checkpoint
    ADD CONSTRAINT checkpoint_pkey PRIMARY KEY (topic, partition);
ALTER TABLE ONLY order_service.fence
    ADD CONSTRAINT fence_pkey PRIMARY KEY (key);
ALTER TABLE ONLY order_service.intervention
    ADD CONSTRAINT intervention_pkey PRIMARY KEY (id);
ALTER TABLE ONLY order_service.orders
    ADD CONSTRAINT orders_pkey PRIMARY KEY (order_id);
ALTER TABLE ONLY order_service.orders
    ADD CONSTRAINT orders_request_id_key UNIQUE (request_id);
ALTER TABLE ONLY order_service.outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (topic, partition, "position");
ALTER TABLE ONLY order_service.parked
    ADD CONSTRAINT parked_pkey PRIMARY KEY (key, "position");
ALTER TABLE ONLY order_service.schema_version
    ADD CONSTRAINT schema_version_pkey PRIMARY KEY (component);
ALTER TABLE ONLY order_service.service
    ADD CONSTRAINT service_pkey PRIMARY KEY (name);
ALTER TABLE ONLY order_service.uncaused
    ADD CONSTRAINT uncaused_pkey PRIMARY KEY (id);
CREATE INDEX fence_retry_at ON order_service.fence USING btree (retry_at_ms);

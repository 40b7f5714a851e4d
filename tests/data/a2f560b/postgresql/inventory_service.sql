CREATE SCHEMA inventory_service;
CREATE TABLE inventory_service.checkpoint (
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    "position" bigint NOT NULL,
    epoch bigint NOT NULL,
    cluster_id text NOT NULL,
    topic_id text NOT NULL
);
CREATE TABLE inventory_service.fence (
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
CREATE TABLE inventory_service.intervention (
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
CREATE TABLE inventory_service.outbox (
    topic text NOT NULL,
    partition integer NOT NULL,
    "position" bigint NOT NULL,
    records bytea NOT NULL
);
CREATE TABLE inventory_service.parked (
    key text NOT NULL,
    "position" bigint NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    log_offset bigint NOT NULL,
    timestamp_ms bigint NOT NULL,
    record bytea NOT NULL
);
CREATE TABLE inventory_service.reservation (
    order_id text NOT NULL,
    status text NOT NULL,
    items text NOT NULL,
    error text,
    CONSTRAINT reservation_status_check CHECK (((status = 'awaiting_payment'::text) OR (status = 'awaiting_items'::text) OR (status = 'reserved'::text) OR (status = 'failed'::text) OR (status = 'cancelled'::text)))
);
CREATE TABLE inventory_service.schema_version (
    component text NOT NULL,
    version integer NOT NULL,
    oldest_compatible integer NOT NULL
);
CREATE TABLE inventory_service.service (
    name text NOT NULL
);
CREATE TABLE inventory_service.stock (
    sku text NOT NULL,
    on_hand bigint NOT NULL,
    reserved bigint DEFAULT 0 NOT NULL,
    CONSTRAINT stock_check CHECK (((reserved >= 0) AND (reserved <= on_hand))),
    CONSTRAINT stock_on_hand_check CHECK ((on_hand >= 0))
);
CREATE TABLE inventory_service.uncaused (
    id text NOT NULL,
    records bytea NOT NULL
);
INSERT INTO inventory_service.checkpoint VALUES ('inventory-service.dead-letters.resolutions', 0, 0, 0, 2, 'AHV-3MwnT2akkbIL1G8Y3Q', '8ps9D8sKT/i/2bOEV8y/6Q');
INSERT INTO inventory_service.checkpoint VALUES ('order.cancelled', 0, 2, 0, 2, 'AHV-3MwnT2akkbIL1G8Y3Q', 'BxlV65IVR9qdUk9c/9X2yQ');
INSERT INTO inventory_service.checkpoint VALUES ('order.created', 0, 15, 1, 2, 'AHV-3MwnT2akkbIL1G8Y3Q', 'vg17xCHwSbuwhaBwJEWRkg');
INSERT INTO inventory_service.checkpoint VALUES ('payment.charged', 0, 15, 5, 2, 'AHV-3MwnT2akkbIL1G8Y3Q', 'wrVi2RPZSmmSa8pARniFoA');
INSERT INTO inventory_service.fence VALUES ('01a22397-9b95-7405-b887-d5fdd15b8237', 'order.created', 0, 1, 2, 8, 1795893468103, 1795893495633, 'the repository raised CheckViolation: refused for a while
CONTEXT:  PL/pgSQL function refuse() line 1 at RAISE');
INSERT INTO inventory_service.intervention VALUES ('01a22397-ad02-73fb-a869-d573170ec4d8', 1795893472280, 'retry', '01a22397-9b95-7405-b887-d5fdd15b8237', 'order.created/0/10', 'the repository raised CheckViolation: refused for a while
CONTEXT:  PL/pgSQL function refuse() line 1 at RAISE', 'ada', 'frozen', '\x');
INSERT INTO inventory_service.intervention VALUES ('01a22397-b23f-707d-9214-bc79e627f622', 1795893473662, 'discard', '01a22397-a26c-7688-a289-09fafb85b5b9', 'order.created/0/12', 'the repository raised CheckViolation: refused for a while
CONTEXT:  PL/pgSQL function refuse() line 1 at RAISE', 'ada', 'frozen', '\x93c42430316132323339372d613236632d373638382d613238392d303966616662383562356239c43d00000000094830316132323339372d613236632d373638382d613238392d303966616662383562356239043432ea2d06555344020a6261642d310200009592ae63655f7370656376657273696f6ec403312e3092a763655f74797065c40d6f726465722e6372656174656492a963655f736f75726365c40d6f726465722d7365727669636592ac636f6e74656e742d74797065c4106170706c69636174696f6e2f6176726f92a563655f6964c4326f726465722e637265617465642f30316132323339372d613236632d373638382d613238392d303966616662383562356239');
INSERT INTO inventory_service.intervention VALUES ('01a22397-b240-7677-b428-4618f9d6c34e', 1795893473662, 'discard', '01a22397-a26c-7688-a289-09fafb85b5b9', 'payment.charged/0/12', '', 'ada', 'frozen', '\x93c42430316132323339372d613236632d373638382d613238392d303966616662383562356239c44c00000000024830316132323339372d613236632d373638382d613238392d3039666166623835623562393663685f353137393339306533346530356666346662343632633134ea2d065553449692ae63655f7370656376657273696f6ec403312e3092a763655f74797065c40f7061796d656e742e6368617267656492a963655f736f75726365c40f7061796d656e742d7365727669636592ac636f6e74656e742d74797065c4106170706c69636174696f6e2f6176726f92a563655f6964c4227061796d656e742e636861726765643c6f726465722e637265617465642f302f313292ae63655f636175736174696f6e6964c4126f726465722e637265617465642f302f3132');
INSERT INTO inventory_service.outbox VALUES ('order.created', 0, 1, '\x9194b2696e76656e746f72792e7265736572766564c42430316132323339372d643239342d373064362d626331342d616637613662366262373262c42a00000000044830316132323339372d643239342d373064362d626331342d6166376136623662623732629692ae63655f7370656376657273696f6ec403312e3092a763655f74797065c412696e76656e746f72792e726573657276656492a963655f736f75726365c411696e76656e746f72792d7365727669636592ac636f6e74656e742d74797065c4106170706c69636174696f6e2f6176726f92a563655f6964c425696e76656e746f72792e72657365727665643c6f726465722e637265617465642f302f313492ae63655f636175736174696f6e6964c4126f726465722e637265617465642f302f3134');
INSERT INTO inventory_service.parked VALUES ('01a22397-9b95-7405-b887-d5fdd15b8237', 1, 'order.created', 0, 10, 1795893468072, '\x93c42430316132323339372d396239352d373430352d623838372d643566646431356238323337c43d00000000094830316132323339372d396239352d373430352d623838372d643566646431356238323337043432ea2d06555344020a6261642d310200009592ae63655f7370656376657273696f6ec403312e3092a763655f74797065c40d6f726465722e6372656174656492a963655f736f75726365c40d6f726465722d7365727669636592ac636f6e74656e742d74797065c4106170706c69636174696f6e2f6176726f92a563655f6964c4326f726465722e637265617465642f30316132323339372d396239352d373430352d623838372d643566646431356238323337');
INSERT INTO inventory_service.parked VALUES ('01a22397-9b95-7405-b887-d5fdd15b8237', 2, 'payment.charged', 0, 10, 1795893468106, '\x93c42430316132323339372d396239352d373430352d623838372d643566646431356238323337c44c00000000024830316132323339372d396239352d373430352d623838372d6435666464313562383233373663685f333333303734636632613537396462613532666231623037ea2d065553449692ae63655f7370656376657273696f6ec403312e3092a763655f74797065c40f7061796d656e742e6368617267656492a963655f736f75726365c40f7061796d656e742d7365727669636592ac636f6e74656e742d74797065c4106170706c69636174696f6e2f6176726f92a563655f6964c4227061796d656e742e636861726765643c6f726465722e637265617465642f302f313092ae63655f636175736174696f6e6964c4126f726465722e637265617465642f302f3130');
INSERT INTO inventory_service.reservation VALUES ('01a22397-7262-74cb-a6b0-1fadfe1eb345', 'reserved', '[["cd-1",1]]', NULL);
INSERT INTO inventory_service.reservation VALUES ('01a22397-78fb-7471-b60a-2c04e7fab523', 'reserved', '[["cd-1",1]]', NULL);
INSERT INTO inventory_service.reservation VALUES ('01a22397-7f6b-7309-9d3f-c3b29c2c9e2e', 'reserved', '[["cd-2",1]]', NULL);
INSERT INTO inventory_service.reservation VALUES ('01a22397-8625-7152-9481-f1bfa05dbf4f', 'failed', '[["cd-2",1]]', 'out of stock: 1 of cd-2 wanted, 0 left');
INSERT INTO inventory_service.reservation VALUES ('01a22397-8e72-73c6-8b1a-742e3bfb2152', 'reserved', '[["cd-1",1]]', NULL);
INSERT INTO inventory_service.reservation VALUES ('01a22397-d294-70d6-bc14-af7a6b6bb72b', 'reserved', '[["cd-1",1]]', NULL);
INSERT INTO inventory_service.schema_version VALUES ('runtime', 1, 1);
INSERT INTO inventory_service.schema_version VALUES ('service', 1, 1);
INSERT INTO inventory_service.service VALUES ('inventory-service');
INSERT INTO inventory_service.stock VALUES ('bad-1', 100, 0);
INSERT INTO inventory_service.stock VALUES ('cd-2', 1, 1);
INSERT INTO inventory_service.stock VALUES ('cd-1', 50, 4);
ALTER TABLE ONLY inventory_service.checkpoint
    ADD CONSTRAINT checkpoint_pkey PRIMARY KEY (topic, partition);
ALTER TABLE ONLY inventory_service.fence
    ADD CONSTRAINT fence_pkey PRIMARY KEY (key);
ALTER TABLE ONLY inventory_service.intervention
    ADD CONSTRAINT intervention_pkey PRIMARY KEY (id);
ALTER TABLE ONLY inventory_service.outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (topic, partition, "position");
ALTER TABLE ONLY inventory_service.parked
    ADD CONSTRAINT parked_pkey PRIMARY KEY (key, "position");
ALTER TABLE ONLY inventory_service.reservation
    ADD CONSTRAINT reservation_pkey PRIMARY KEY (order_id);
ALTER TABLE ONLY inventory_service.schema_version
    ADD CONSTRAINT schema_version_pkey PRIMARY KEY (component);
ALTER TABLE ONLY inventory_service.service
    ADD CONSTRAINT service_pkey PRIMARY KEY (name);
ALTER TABLE ONLY inventory_service.stock
    ADD CONSTRAINT stock_pkey PRIMARY KEY (sku);
ALTER TABLE ONLY inventory_service.uncaused
    ADD CONSTRAINT uncaused_pkey PRIMARY KEY (id);
CREATE INDEX fence_retry_at ON inventory_service.fence USING btree (retry_at_ms);

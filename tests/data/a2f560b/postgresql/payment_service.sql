CREATE SCHEMA payment_service;
CREATE TABLE payment_service.checkpoint (
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    "position" bigint NOT NULL,
    epoch bigint NOT NULL,
    cluster_id text NOT NULL,
    topic_id text NOT NULL
);
CREATE TABLE payment_service.fence (
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
CREATE TABLE payment_service.intervention (
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
CREATE TABLE payment_service.outbox (
    topic text NOT NULL,
    partition integer NOT NULL,
    "position" bigint NOT NULL,
    records bytea NOT NULL
);
CREATE TABLE payment_service.parked (
    key text NOT NULL,
    "position" bigint NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    log_offset bigint NOT NULL,
    timestamp_ms bigint NOT NULL,
    record bytea NOT NULL
);
CREATE TABLE payment_service.payment (
    order_id text NOT NULL,
    payment_id text,
    amount bigint NOT NULL,
    currency text NOT NULL,
    status text NOT NULL,
    error text,
    CONSTRAINT payment_amount_check CHECK ((amount >= 0)),
    CONSTRAINT payment_status_check CHECK (((status = 'charged'::text) OR (status = 'declined'::text) OR (status = 'refunded'::text) OR (status = 'cancelled'::text)))
);
CREATE TABLE payment_service.schema_version (
    component text NOT NULL,
    version integer NOT NULL,
    oldest_compatible integer NOT NULL
);
CREATE TABLE payment_service.service (
    name text NOT NULL
);
CREATE TABLE payment_service.uncaused (
    id text NOT NULL,
    records bytea NOT NULL
);
INSERT INTO payment_service.checkpoint VALUES ('order.cancelled', 0, 2, 1, 3, 'AHV-3MwnT2akkbIL1G8Y3Q', 'BxlV65IVR9qdUk9c/9X2yQ');
INSERT INTO payment_service.checkpoint VALUES ('payment-service.dead-letters.resolutions', 0, 0, 0, 3, 'AHV-3MwnT2akkbIL1G8Y3Q', 'UcUdy3P8RAKqhvBLArNxIA');
INSERT INTO payment_service.checkpoint VALUES ('order.created', 0, 17, 9, 3, 'AHV-3MwnT2akkbIL1G8Y3Q', 'vg17xCHwSbuwhaBwJEWRkg');
INSERT INTO payment_service.outbox VALUES ('order.created', 0, 9, '\x9194af7061796d656e742e63686172676564c42430316132323339372d663430362d373237352d616437632d303338326639313331643839c44c00000000024830316132323339372d663430362d373237352d616437632d3033383266393133316438393663685f386666356664613939636438336533383033396634336234ea2d065553449692ae63655f7370656376657273696f6ec403312e3092a763655f74797065c40f7061796d656e742e6368617267656492a963655f736f75726365c40f7061796d656e742d7365727669636592ac636f6e74656e742d74797065c4106170706c69636174696f6e2f6176726f92a563655f6964c4227061796d656e742e636861726765643c6f726465722e637265617465642f302f313692ae63655f636175736174696f6e6964c4126f726465722e637265617465642f302f3136');
INSERT INTO payment_service.payment VALUES ('01a22397-7262-74cb-a6b0-1fadfe1eb345', 'ch_e172e494fe96f943b854e331', 2933, 'USD', 'charged', NULL);
INSERT INTO payment_service.payment VALUES ('01a22397-78fb-7471-b60a-2c04e7fab523', 'ch_fda3924502d419953c016ef7', 2933, 'USD', 'charged', NULL);
INSERT INTO payment_service.payment VALUES ('01a22397-7f6b-7309-9d3f-c3b29c2c9e2e', 'ch_095f95d2ca070b2aef7662bc', 2933, 'USD', 'charged', NULL);
INSERT INTO payment_service.payment VALUES ('01a22397-8625-7152-9481-f1bfa05dbf4f', 'ch_f359f8bb48bf0324533b53cf', 2933, 'USD', 'refunded', NULL);
INSERT INTO payment_service.payment VALUES ('01a22397-8e72-73c6-8b1a-742e3bfb2152', 'ch_dde24e0464266bdcba9deaca', 90000, 'USD', 'charged', NULL);
INSERT INTO payment_service.payment VALUES ('01a22397-9b95-7405-b887-d5fdd15b8237', 'ch_333074cf2a579dba52fb1b07', 2933, 'USD', 'charged', NULL);
INSERT INTO payment_service.payment VALUES ('01a22397-a26c-7688-a289-09fafb85b5b9', 'ch_5179390e34e05ff4fb462c14', 2933, 'USD', 'charged', NULL);
INSERT INTO payment_service.payment VALUES ('01a22397-d294-70d6-bc14-af7a6b6bb72b', 'ch_68f80c8cdcdd7943210e765f', 2933, 'USD', 'charged', NULL);
INSERT INTO payment_service.payment VALUES ('01a22397-f406-7275-ad7c-0382f9131d89', 'ch_8ff5fda99cd83e38039f43b4', 2933, 'USD', 'charged', NULL);
INSERT INTO payment_service.schema_version VALUES ('runtime', 1, 1);
INSERT INTO payment_service.schema_version VALUES ('service', 1, 1);
INSERT INTO payment_service.service VALUES ('payment-service');
ALTER TABLE ONLY payment_service.checkpoint
    ADD CONSTRAINT checkpoint_pkey PRIMARY KEY (topic, partition);
ALTER TABLE ONLY payment_service.fence
    ADD CONSTRAINT fence_pkey PRIMARY KEY (key);
ALTER TABLE ONLY payment_service.intervention
    ADD CONSTRAINT intervention_pkey PRIMARY KEY (id);
ALTER TABLE ONLY payment_service.outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (topic, partition, "position");
ALTER TABLE ONLY payment_service.parked
    ADD CONSTRAINT parked_pkey PRIMARY KEY (key, "position");
ALTER TABLE ONLY payment_service.payment
    ADD CONSTRAINT payment_pkey PRIMARY KEY (order_id);
ALTER TABLE ONLY payment_service.schema_version
    ADD CONSTRAINT schema_version_pkey PRIMARY KEY (component);
ALTER TABLE ONLY payment_service.service
    ADD CONSTRAINT service_pkey PRIMARY KEY (name);
ALTER TABLE ONLY payment_service.uncaused
    ADD CONSTRAINT uncaused_pkey PRIMARY KEY (id);
CREATE INDEX fence_retry_at ON payment_service.fence USING btree (retry_at_ms);

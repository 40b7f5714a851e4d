BEGIN TRANSACTION;
CREATE TABLE provider_ledger (
    key text primary key,       -- the idempotency key
    charge_key text not null,   -- the key of the charge that it is about; a charge's own
    kind text not null,         -- charge, refund
    amount integer not null,    -- minor units
    currency text not null,
    outcome text not null,      -- done; declined, above limit; nothing: was not charged; void: refunded before it was
    detail text not null,       -- the provider's id of the charge, or why it was declined
    refund_key text             -- of a charge that was given back: by which refund
) without rowid
;
INSERT INTO "provider_ledger" VALUES('01a22397-7262-74cb-a6b0-1fadfe1eb345','01a22397-7262-74cb-a6b0-1fadfe1eb345','charge',2933,'USD','done','ch_e172e494fe96f943b854e331',NULL);
INSERT INTO "provider_ledger" VALUES('01a22397-78fb-7471-b60a-2c04e7fab523','01a22397-78fb-7471-b60a-2c04e7fab523','charge',2933,'USD','done','ch_fda3924502d419953c016ef7',NULL);
INSERT INTO "provider_ledger" VALUES('01a22397-7f6b-7309-9d3f-c3b29c2c9e2e','01a22397-7f6b-7309-9d3f-c3b29c2c9e2e','charge',2933,'USD','done','ch_095f95d2ca070b2aef7662bc',NULL);
INSERT INTO "provider_ledger" VALUES('01a22397-8625-7152-9481-f1bfa05dbf4f','01a22397-8625-7152-9481-f1bfa05dbf4f','charge',2933,'USD','done','ch_f359f8bb48bf0324533b53cf','refund/01a22397-8625-7152-9481-f1bfa05dbf4f');
INSERT INTO "provider_ledger" VALUES('01a22397-8e72-73c6-8b1a-742e3bfb2152','01a22397-8e72-73c6-8b1a-742e3bfb2152','charge',90000,'USD','done','ch_dde24e0464266bdcba9deaca',NULL);
INSERT INTO "provider_ledger" VALUES('01a22397-9b95-7405-b887-d5fdd15b8237','01a22397-9b95-7405-b887-d5fdd15b8237','charge',2933,'USD','done','ch_333074cf2a579dba52fb1b07',NULL);
INSERT INTO "provider_ledger" VALUES('01a22397-a26c-7688-a289-09fafb85b5b9','01a22397-a26c-7688-a289-09fafb85b5b9','charge',2933,'USD','done','ch_5179390e34e05ff4fb462c14',NULL);
INSERT INTO "provider_ledger" VALUES('01a22397-d294-70d6-bc14-af7a6b6bb72b','01a22397-d294-70d6-bc14-af7a6b6bb72b','charge',2933,'USD','done','ch_68f80c8cdcdd7943210e765f',NULL);
INSERT INTO "provider_ledger" VALUES('01a22397-f406-7275-ad7c-0382f9131d89','01a22397-f406-7275-ad7c-0382f9131d89','charge',2933,'USD','done','ch_8ff5fda99cd83e38039f43b4',NULL);
INSERT INTO "provider_ledger" VALUES('refund/01a22397-8625-7152-9481-f1bfa05dbf4f','01a22397-8625-7152-9481-f1bfa05dbf4f','refund',2933,'USD','done','ch_f359f8bb48bf0324533b53cf',NULL);
CREATE TABLE provider_outage (
    answer text not null        -- what every request is answered with while there is a row: 500, 429, nothing
);
COMMIT;

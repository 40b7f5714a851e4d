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
INSERT INTO "provider_ledger" VALUES('01a22396-d52d-71eb-bf49-80cb0a465ff9','01a22396-d52d-71eb-bf49-80cb0a465ff9','charge',2933,'USD','done','ch_9b64eed940ec3eccc3a7a2f0',NULL);
INSERT INTO "provider_ledger" VALUES('01a22396-e23a-74d6-ac70-385850aa9a8b','01a22396-e23a-74d6-ac70-385850aa9a8b','charge',2933,'USD','done','ch_357d337774b0209b201d4f09',NULL);
INSERT INTO "provider_ledger" VALUES('01a22396-e7f9-779e-8c9f-f24601a5a5b8','01a22396-e7f9-779e-8c9f-f24601a5a5b8','charge',2933,'USD','done','ch_8dd32c19ef925a707a05d527',NULL);
INSERT INTO "provider_ledger" VALUES('01a22396-ede6-7165-8656-e266e3f35ae6','01a22396-ede6-7165-8656-e266e3f35ae6','charge',2933,'USD','done','ch_2d1e86e02824de363f615d90','refund/01a22396-ede6-7165-8656-e266e3f35ae6');
INSERT INTO "provider_ledger" VALUES('01a22396-f545-76ce-a46b-98e9a30f5cec','01a22396-f545-76ce-a46b-98e9a30f5cec','charge',90000,'USD','done','ch_0aac9d000f25e7cacd57ab15',NULL);
INSERT INTO "provider_ledger" VALUES('01a22397-0312-76ac-94f3-41871d01a29a','01a22397-0312-76ac-94f3-41871d01a29a','charge',2933,'USD','done','ch_ceb51b600dc1a107d27f920d',NULL);
INSERT INTO "provider_ledger" VALUES('01a22397-08ea-7481-bf09-23d168aad4d7','01a22397-08ea-7481-bf09-23d168aad4d7','charge',2933,'USD','done','ch_b42e603bbad5bd49bc904532',NULL);
INSERT INTO "provider_ledger" VALUES('01a22397-2857-770a-8385-0af4cddad0be','01a22397-2857-770a-8385-0af4cddad0be','charge',2933,'USD','done','ch_303754b87cefb665adac130f',NULL);
INSERT INTO "provider_ledger" VALUES('01a22397-3dde-7407-a5fd-4ece6c934391','01a22397-3dde-7407-a5fd-4ece6c934391','charge',2933,'USD','done','ch_188d142923cccbdcbad624dd',NULL);
INSERT INTO "provider_ledger" VALUES('refund/01a22396-ede6-7165-8656-e266e3f35ae6','01a22396-ede6-7165-8656-e266e3f35ae6','refund',2933,'USD','done','ch_2d1e86e02824de363f615d90',NULL);
CREATE TABLE provider_outage (
    answer text not null        -- what every request is answered with while there is a row: 500, 429, nothing
);
COMMIT;

BEGIN TRANSACTION;
CREATE TABLE checkpoint (                
    topic text not null,
    partition integer not null,
    next_offset bigint not null,         
    position bigint not null,            
    epoch bigint not null,               
    cluster_id text not null,            
    topic_id text not null,
    primary key (topic, partition)
);
INSERT INTO "checkpoint" VALUES('order.cancelled',0,2,1,3,'AHV-3MwnT2akkbIL1G8Y3Q','DQiScRTxRm+sGsuKn50wHw');
INSERT INTO "checkpoint" VALUES('order.created',0,17,9,3,'AHV-3MwnT2akkbIL1G8Y3Q','4OXRiuVlSDSCsvDIssN8DA');
INSERT INTO "checkpoint" VALUES('payment-service.dead-letters.resolutions',0,0,0,3,'AHV-3MwnT2akkbIL1G8Y3Q','xVuiUJ8VRTiaZhNvEc8VqQ');
CREATE TABLE fence (                     
    key text primary key,
    topic text not null,
    partition integer not null,          
    first bigint not null,               
    last bigint not null,
    attempts integer not null,           
    since_ms bigint not null,            
    retry_at_ms bigint not null,
    error text not null
);
CREATE TABLE intervention (              
    id text primary key,                 
    at_ms bigint not null,
    action text not null,                
    key text not null,
    address text not null,               
    error text not null,                 
    by_whom text not null,
    reason text not null,
    record bytea not null                
);
CREATE TABLE outbox (                    
    topic text not null,
    partition integer not null,
    position bigint not null,
    records bytea not null,
    primary key (topic, partition, position)
);
INSERT INTO "outbox" VALUES('order.created',0,9,X'9194AF7061796D656E742E63686172676564C42430316132323339372D336464652D373430372D613566642D346563653663393334333931C44C00000000024830316132323339372D336464652D373430372D613566642D3465636536633933343339313663685F313838643134323932336363636264636261643632346464EA2D065553449692AE63655F7370656376657273696F6EC403312E3092A763655F74797065C40F7061796D656E742E6368617267656492A963655F736F75726365C40F7061796D656E742D7365727669636592AC636F6E74656E742D74797065C4106170706C69636174696F6E2F6176726F92A563655F6964C4227061796D656E742E636861726765643C6F726465722E637265617465642F302F313692AE63655F636175736174696F6E6964C4126F726465722E637265617465642F302F3136');
CREATE TABLE parked (                    
    key text not null,
    position bigint not null,
    topic text not null,
    partition integer not null,
    log_offset bigint not null,
    timestamp_ms bigint not null,
    record bytea not null,               
    primary key (key, position)
);
CREATE TABLE payment (
    order_id text primary key,
    payment_id text,                     
    amount bigint not null check (amount >= 0),  
    currency text not null,                      
    status text not null check (  
        status = 'charged' or status = 'declined' or status = 'refunded' or status = 'cancelled'
    ),
    error text                           
);
INSERT INTO "payment" VALUES('01a22396-d52d-71eb-bf49-80cb0a465ff9','ch_9b64eed940ec3eccc3a7a2f0',2933,'USD','charged',NULL);
INSERT INTO "payment" VALUES('01a22396-e23a-74d6-ac70-385850aa9a8b','ch_357d337774b0209b201d4f09',2933,'USD','charged',NULL);
INSERT INTO "payment" VALUES('01a22396-e7f9-779e-8c9f-f24601a5a5b8','ch_8dd32c19ef925a707a05d527',2933,'USD','charged',NULL);
INSERT INTO "payment" VALUES('01a22396-ede6-7165-8656-e266e3f35ae6','ch_2d1e86e02824de363f615d90',2933,'USD','refunded',NULL);
INSERT INTO "payment" VALUES('01a22396-f545-76ce-a46b-98e9a30f5cec','ch_0aac9d000f25e7cacd57ab15',90000,'USD','charged',NULL);
INSERT INTO "payment" VALUES('01a22397-0312-76ac-94f3-41871d01a29a','ch_ceb51b600dc1a107d27f920d',2933,'USD','charged',NULL);
INSERT INTO "payment" VALUES('01a22397-08ea-7481-bf09-23d168aad4d7','ch_b42e603bbad5bd49bc904532',2933,'USD','charged',NULL);
INSERT INTO "payment" VALUES('01a22397-2857-770a-8385-0af4cddad0be','ch_303754b87cefb665adac130f',2933,'USD','charged',NULL);
INSERT INTO "payment" VALUES('01a22397-3dde-7407-a5fd-4ece6c934391','ch_188d142923cccbdcbad624dd',2933,'USD','charged',NULL);
CREATE TABLE schema_version (            
    component text primary key,
    version integer not null,            
    oldest_compatible integer not null   
);
INSERT INTO "schema_version" VALUES('runtime',1,1);
INSERT INTO "schema_version" VALUES('service',1,1);
CREATE TABLE service (
    name text primary key                
);
INSERT INTO "service" VALUES('payment-service');
CREATE TABLE uncaused (                  
    id text primary key,                 
    records bytea not null
);
CREATE INDEX fence_retry_at on fence (retry_at_ms);
COMMIT;

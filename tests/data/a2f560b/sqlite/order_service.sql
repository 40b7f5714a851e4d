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
INSERT INTO "checkpoint" VALUES('inventory.reservation.failed',0,2,1,4,'AHV-3MwnT2akkbIL1G8Y3Q','7uYaayYDRTGtXJvMXhALpQ');
INSERT INTO "checkpoint" VALUES('inventory.reserved',0,8,14,4,'AHV-3MwnT2akkbIL1G8Y3Q','GxTsdAnpTvSOQXe4QfnClA');
INSERT INTO "checkpoint" VALUES('order-service.dead-letters.resolutions',0,0,0,4,'AHV-3MwnT2akkbIL1G8Y3Q','oWCxXPhGTLCfBfukl23wMg');
INSERT INTO "checkpoint" VALUES('payment.failed',0,0,0,4,'AHV-3MwnT2akkbIL1G8Y3Q','p5vQx77XQNGM6362/Af9kA');
INSERT INTO "checkpoint" VALUES('payment.refunded',0,2,0,4,'AHV-3MwnT2akkbIL1G8Y3Q','ia+oCj5dRyGtZeLvlZrF6w');
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
CREATE TABLE orders (
    order_id text primary key,
    request_id text unique,              
    customer_id text not null,
    total bigint not null check (total >= 0),                  
    currency text not null,                                    
    items text not null,                                       
    status text not null check (  
        status = 'pending' or status = 'confirmed' or status = 'cancelled'
    ),
    reason text,                                               
    refunded bigint not null default 0 check (refunded >= 0),  
    created_at bigint not null,                                
    updated_at bigint not null
);
INSERT INTO "orders" VALUES('01a22396-d52d-71eb-bf49-80cb0a465ff9',NULL,'42',2933,'USD','[["cd-1",1]]','confirmed',NULL,0,1795893417261,1795893417924);
INSERT INTO "orders" VALUES('01a22396-e23a-74d6-ac70-385850aa9a8b',NULL,'42',2933,'USD','[["cd-1",1]]','confirmed',NULL,0,1795893420602,1795893420713);
INSERT INTO "orders" VALUES('01a22396-e7f9-779e-8c9f-f24601a5a5b8',NULL,'42',2933,'USD','[["cd-2",1]]','confirmed',NULL,0,1795893422074,1795893422183);
INSERT INTO "orders" VALUES('01a22396-ede6-7165-8656-e266e3f35ae6',NULL,'42',2933,'USD','[["cd-2",1]]','cancelled','out of stock: 1 of cd-2 wanted, 0 left',2933,1795893423590,1795893424027);
INSERT INTO "orders" VALUES('01a22396-f545-76ce-a46b-98e9a30f5cec',NULL,'42',90000,'USD','[["cd-1",1]]','confirmed',NULL,0,1795893425477,1795893425921);
INSERT INTO "orders" VALUES('01a22397-0312-76ac-94f3-41871d01a29a',NULL,'42',2933,'USD','[["bad-1",1]]','pending',NULL,0,1795893429010,1795893429010);
INSERT INTO "orders" VALUES('01a22397-08ea-7481-bf09-23d168aad4d7',NULL,'42',2933,'USD','[["bad-1",1]]','pending',NULL,0,1795893430506,1795893430506);
INSERT INTO "orders" VALUES('01a22397-2857-770a-8385-0af4cddad0be',NULL,'42',2933,'USD','[["cd-1",1]]','pending',NULL,0,1795893438551,1795893438551);
INSERT INTO "orders" VALUES('01a22397-3dde-7407-a5fd-4ece6c934391',NULL,'42',2933,'USD','[["cd-1",1]]','pending',NULL,0,1795893444062,1795893444062);
INSERT INTO "orders" VALUES('01a22397-44c2-7189-876e-19bbf22a8cb0',NULL,'42',2933,'USD','[["cd-1",1]]','pending',NULL,0,1795893445826,1795893445826);
INSERT INTO "orders" VALUES('01a22397-4b4b-76cd-9b96-5d5c35aab6f9',NULL,'42',2933,'USD','[["cd-1",1]]','pending',NULL,0,1795893447499,1795893447499);
CREATE TABLE outbox (                    
    topic text not null,
    partition integer not null,
    position bigint not null,
    records bytea not null,
    primary key (topic, partition, position)
);
INSERT INTO "outbox" VALUES('inventory.reserved',0,14,X'9194AD6F726465722E63726561746564C42430316132323339372D343463322D373138392D383736652D313962626632326138636230C43C00000000094830316132323339372D343463322D373138392D383736652D313962626632326138636230043432EA2D06555344020863642D310200009592AE63655F7370656376657273696F6EC403312E3092A763655F74797065C40D6F726465722E6372656174656492A963655F736F75726365C40D6F726465722D7365727669636592AC636F6E74656E742D74797065C4106170706C69636174696F6E2F6176726F92A563655F6964C4326F726465722E637265617465642F30316132323339372D343463322D373138392D383736652D313962626632326138636230');
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
INSERT INTO "service" VALUES('order-service');
CREATE TABLE uncaused (                  
    id text primary key,                 
    records bytea not null
);
INSERT INTO "uncaused" VALUES('order.created/01a22397-4b4b-76cd-9b96-5d5c35aab6f9',X'9194AD6F726465722E63726561746564C42430316132323339372D346234622D373663642D396239362D356435633335616162366639C43C00000000094830316132323339372D346234622D373663642D396239362D356435633335616162366639043432EA2D06555344020863642D310200009592AE63655F7370656376657273696F6EC403312E3092A763655F74797065C40D6F726465722E6372656174656492A963655F736F75726365C40D6F726465722D7365727669636592AC636F6E74656E742D74797065C4106170706C69636174696F6E2F6176726F92A563655F6964C4326F726465722E637265617465642F30316132323339372D346234622D373663642D396239362D356435633335616162366639');
CREATE INDEX fence_retry_at on fence (retry_at_ms);
COMMIT;

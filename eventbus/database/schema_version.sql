create table schema_version (            -- which version the tables have: one row for the runtime, one for the service
    component text primary key,
    version integer not null,            -- the number of the last step that was applied
    oldest_compatible integer not null   -- the oldest version whose programs can work with these tables
);

-- The micro-batches of streams' jobs, each written down when its rows are safe and before it is committed: a batch that
-- is repeated takes its own place.

CREATE TABLE stream_batches (
    stream        text NOT NULL CHECK (stream <> ''),
    query_id      uuid NOT NULL, -- of the checkpoint: batches of another one count from 0 again
    batch         bigint NOT NULL CHECK (batch >= 0),
    started       timestamptz NOT NULL,
    written       timestamptz NOT NULL DEFAULT clock_timestamp(),
    committed     timestamptz,

    start_offsets jsonb NOT NULL CHECK (jsonb_typeof(start_offsets) = 'object'), -- {partition: offset}
    end_offsets   jsonb NOT NULL CHECK (jsonb_typeof(end_offsets) = 'object'),
    watermark     timestamptz NOT NULL, -- the time up to which minutes are closed

    read          bigint NOT NULL CHECK (read >= 0),
    rejected      bigint NOT NULL CHECK (rejected >= 0),
    late          bigint NOT NULL CHECK (late >= 0),
    duplicates    bigint NOT NULL CHECK (duplicates >= 0),
    counted       bigint NOT NULL CHECK (counted >= 0), -- in a minute's counts, be it closed or still open
    rows          bigint NOT NULL CHECK (rows >= 0), -- minute counts that were closed
    events        bigint NOT NULL CHECK (events >= 0), -- records in those counts
    refused       bigint NOT NULL DEFAULT 0 CHECK (refused >= 0), -- of the rows, by InfluxDB

    lag           bigint CHECK (lag >= 0), -- offsets that were left on the topic when it was committed

    PRIMARY KEY (stream, query_id, batch),
    CONSTRAINT every_record_has_a_fate CHECK (read = rejected + late + duplicates + counted)
);

CREATE INDEX stream_batches_by_time ON stream_batches (stream, written DESC);
CREATE INDEX stream_batches_open ON stream_batches (stream, query_id) WHERE committed IS NULL;

-- What happened to each batch at each hop. All times but as_of are read from this database's clock, so that the
-- workers' clocks need not agree.

CREATE TABLE batches (
    batch_id       text PRIMARY KEY,
    pipeline       text NOT NULL CHECK (pipeline <> ''),
    interval_start timestamptz NOT NULL,
    interval_end   timestamptz NOT NULL,
    options        jsonb NOT NULL CHECK (jsonb_typeof(options) = 'object'),
    recorded       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT interval_ends_after_its_start CHECK (interval_end > interval_start),
    CONSTRAINT batch_id_begins_with_its_pipeline CHECK (starts_with(batch_id, pipeline || ':'))
);

CREATE INDEX batches_of_a_pipeline_by_interval ON batches (pipeline, interval_end DESC);
CREATE INDEX batches_by_interval ON batches (interval_end DESC);

CREATE TABLE hops (
    batch_id      text NOT NULL REFERENCES batches ON DELETE CASCADE,
    hop           text NOT NULL CHECK (hop IN ('produce', 'land', 'reconcile')),

    -- The latest attempt at this hop.
    state         text NOT NULL CHECK (state IN ('running', 'done', 'failed')),
    attempts      integer NOT NULL CHECK (attempts > 0),
    attempt_as_of timestamptz NOT NULL,
    run_id        text NOT NULL CHECK (run_id <> ''),
    try_number    integer NOT NULL CHECK (try_number > 0),
    started       timestamptz NOT NULL DEFAULT now(),
    finished      timestamptz,
    error         text CHECK (error <> ''),

    -- The latest attempt that was completed. What it counted stands until a later one is completed too.
    as_of         timestamptz,

    -- produce
    topic         text CHECK (topic <> ''),
    schema_id     bigint CHECK (schema_id >= 0),
    ranges        jsonb CHECK (jsonb_typeof(ranges) = 'array'),
    fetched       bigint CHECK (fetched >= 0),
    acked         bigint,

    -- produce and land: the records that went to the dead letters there
    rejected      bigint CHECK (rejected >= 0),

    -- land
    read          bigint CHECK (read >= 0),
    landed        bigint CHECK (landed >= 0),
    duplicates    bigint CHECK (duplicates >= 0),
    foreign_read  bigint CHECK (foreign_read >= 0),

    -- reconcile: {sink: {"own": rows, "newer": rows, "older": rows}}
    sinks         jsonb CHECK (jsonb_typeof(sinks) = 'object'),
    verdict       text CHECK (verdict <> ''),

    PRIMARY KEY (batch_id, hop),

    CONSTRAINT an_attempt_ends_after_its_start CHECK (finished >= started),
    CONSTRAINT running_has_no_end CHECK ((state = 'running') = (finished IS NULL)),
    CONSTRAINT failed_has_an_error CHECK ((state = 'failed') = (error IS NOT NULL)),
    CONSTRAINT done_has_counts CHECK (state <> 'done' OR (as_of IS NOT NULL AND as_of = attempt_as_of)),

    CONSTRAINT counts_of_produce CHECK (
        num_nonnulls(topic, schema_id, ranges, fetched, acked)
        = CASE WHEN hop = 'produce' AND as_of IS NOT NULL THEN 5 ELSE 0 END
    ),
    CONSTRAINT counts_of_land CHECK (
        num_nonnulls(read, landed, duplicates, foreign_read)
        = CASE WHEN hop = 'land' AND as_of IS NOT NULL THEN 4 ELSE 0 END
    ),
    CONSTRAINT counts_of_rejected CHECK (
        (rejected IS NOT NULL) = (hop IN ('produce', 'land') AND as_of IS NOT NULL)
    ),
    CONSTRAINT counts_of_reconcile CHECK (
        num_nonnulls(sinks, verdict) = CASE WHEN hop = 'reconcile' AND as_of IS NOT NULL THEN 2 ELSE 0 END
    ),
    CONSTRAINT every_fetched_record_is_acked CHECK (fetched = acked),
    CONSTRAINT rejected_are_among_the_acked CHECK (rejected <= acked),
    CONSTRAINT every_read_record_has_a_fate CHECK (read = landed + rejected + duplicates)
);

-- One row per batch. `verdict` is that of the reconciliation, or else says at which hop the batch stands. Counts of
-- a landing show only beside the produce they belong to.
CREATE VIEW ledger AS
SELECT
    b.pipeline,
    b.batch_id,
    b.interval_start,
    b.interval_end,
    produce.fetched,
    produce.acked,
    CASE WHEN land.as_of = produce.as_of THEN land.landed END AS landed,
    produce.rejected + CASE WHEN land.as_of = produce.as_of THEN land.rejected ELSE 0 END AS rejected,
    CASE WHEN land.as_of = produce.as_of THEN land.duplicates END AS duplicates,
    CASE stand.state
        WHEN 'running' THEN latest.hop || ' in progress'
        WHEN 'failed' THEN latest.hop || ' failed: ' || stand.error
        WHEN 'done' THEN stand.verdict
        ELSE latest.hop || ' not started'
    END AS verdict,
    coalesce(produce.started, b.recorded) AS started,
    stand.finished,
    produce.as_of,
    b.options
FROM batches AS b
LEFT JOIN hops AS produce ON produce.batch_id = b.batch_id AND produce.hop = 'produce'
LEFT JOIN hops AS land ON land.batch_id = b.batch_id AND land.hop = 'land'
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN produce.state IS DISTINCT FROM 'done' THEN 'produce'
        WHEN land.state IS DISTINCT FROM 'done' OR land.as_of <> produce.as_of THEN 'land'
        ELSE 'reconcile'
    END AS hop
) AS latest
-- A verdict from before the latest landing says nothing about it.
LEFT JOIN hops AS stand ON
    stand.batch_id = b.batch_id
    AND stand.hop = latest.hop
    AND stand.attempt_as_of = produce.attempt_as_of
    AND (stand.hop <> 'reconcile' OR stand.started >= land.finished);

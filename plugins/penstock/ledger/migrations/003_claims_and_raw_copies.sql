-- Which offsets of a shared topic each batch has taken up: there, other programs write records too. Each offset is
-- claimed once, in order, by one batch for good, so that each of these records lands with exactly one batch.

CREATE TABLE claims (
    topic_id     text NOT NULL CHECK (topic_id <> ''), -- of the topic made anew, the old offsets say nothing
    partition    integer NOT NULL CHECK (partition >= 0),
    start_offset bigint NOT NULL CHECK (start_offset >= 0),
    end_offset   bigint NOT NULL,
    topic        text NOT NULL CHECK (topic <> ''),
    batch_id     text NOT NULL REFERENCES batches ON DELETE CASCADE,
    claimed      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic_id, partition, start_offset),
    CONSTRAINT a_claim_is_not_empty CHECK (end_offset > start_offset)
);

CREATE INDEX claims_of_a_batch ON claims (batch_id);

-- produce: how many of the fetched records other programs wrote, and where; a batch's latest attempt reads them.
ALTER TABLE hops ADD COLUMN taken_up bigint NOT NULL DEFAULT 0 CHECK (taken_up >= 0);
ALTER TABLE hops ADD COLUMN claimed jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(claimed) = 'array');

-- reconcile: how many of the records the raw copy in HDFS has; null for a pipeline without one.
ALTER TABLE hops ADD COLUMN raw_copied bigint CHECK (raw_copied >= 0);
ALTER TABLE hops ADD CONSTRAINT counts_of_the_raw_copy CHECK (raw_copied IS NULL OR hop = 'reconcile');

DROP VIEW ledger;

-- One row per batch. `verdict` is that of the reconciliation, or else says at which hop the batch stands. Counts of
-- a landing show only beside the produce they belong to, and the raw copy's beside the verdict it is part of.
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
    CASE WHEN latest.hop = 'reconcile' THEN stand.raw_copied END AS raw_copied,
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

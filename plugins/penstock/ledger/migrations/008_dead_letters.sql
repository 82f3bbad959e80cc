-- Records that were set aside: where each lies on its dead-letter topic, and what a person decided about it. Its value
-- stays in Kafka.

CREATE TABLE dead_letters (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    data_set         text NOT NULL CHECK (data_set <> ''),
    name             text NOT NULL CHECK (name <> ''), -- of the record, the same each time that it is set aside
    digest           text NOT NULL, -- of the value: on a topic made anew, another record may have the name

    -- Its newest copy.
    topic            text NOT NULL CHECK (topic <> ''),
    partition        integer NOT NULL CHECK (partition >= 0),
    "offset"         bigint NOT NULL CHECK ("offset" >= 0),
    written          timestamptz NOT NULL,
    reason           text NOT NULL,
    kind             text NOT NULL, -- the reason without the values that it quotes

    -- Null where no batch wrote the record.
    batch_id         text,
    as_of            timestamptz,

    -- Null where it never was on its topic.
    source_topic     text,
    source_partition integer,
    source_offset    bigint,

    state            text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'replayed', 'dropped')),
    resolved         timestamptz,
    resolved_by      text CHECK (resolved_by <> ''),
    why              text CHECK (why <> ''),

    UNIQUE (name, digest),
    CONSTRAINT a_source_is_whole_or_none CHECK (num_nonnulls(source_topic, source_partition, source_offset) IN (0, 3)),
    CONSTRAINT resolved_by_somebody CHECK (
        num_nonnulls(resolved, resolved_by) = CASE WHEN state = 'open' THEN 0 ELSE 2 END
    )
);

CREATE INDEX dead_letters_by_state ON dead_letters (state, data_set, kind);
CREATE INDEX dead_letters_of_a_batch ON dead_letters (batch_id);

-- Up to where the dead-letter topics have been noted here.
CREATE TABLE dead_letter_progress (
    topic_id    text NOT NULL CHECK (topic_id <> ''), -- of the topic made anew, the old offsets say nothing
    partition   integer NOT NULL CHECK (partition >= 0),
    next_offset bigint NOT NULL CHECK (next_offset >= 0),
    PRIMARY KEY (topic_id, partition)
);

-- The latest replay of each letter that had one. It is begun before its record is sent, so that whoever repeats it
-- knows where to look for a record that may be on the topic already.
CREATE TABLE replays (
    letter             bigint PRIMARY KEY REFERENCES dead_letters ON DELETE CASCADE,
    state              text NOT NULL CHECK (state IN ('running', 'failed', 'done')),
    run_id             text NOT NULL CHECK (run_id <> ''),
    started            timestamptz NOT NULL DEFAULT now(),
    finished           timestamptz,
    error              text CHECK (error <> ''),

    -- The attempt that counts the record, null for a stream's; and as of when the record itself is.
    batch_id           text REFERENCES batches ON DELETE CASCADE,
    attempt_as_of      timestamptz,
    as_of              timestamptz,

    topic              text NOT NULL CHECK (topic <> ''),
    ends_before        jsonb NOT NULL CHECK (jsonb_typeof(ends_before) = 'object'), -- {partition: offset}
    partition          integer CHECK (partition >= 0), -- where it lies, once that is known
    "offset"           bigint CHECK ("offset" >= 0),

    -- The record that it takes the place of; null where that never was on the topic.
    replaced_partition integer,
    replaced_offset    bigint,

    CONSTRAINT a_batch_has_an_attempt CHECK ((batch_id IS NULL) = (attempt_as_of IS NULL)),
    CONSTRAINT running_has_no_end CHECK ((state = 'running') = (finished IS NULL)),
    CONSTRAINT failed_has_an_error CHECK ((state = 'failed') = (error IS NOT NULL)),
    CONSTRAINT done_has_a_place CHECK (state <> 'done' OR num_nonnulls(partition, "offset") = 2)
);

CREATE INDEX replays_of_a_batch ON replays (batch_id);

DROP VIEW ledger;

-- One row per batch. `verdict` is that of the reconciliation, or else says at which hop the batch stands, or that a
-- replay of some of its dead letters is not over. Counts of a landing show only beside the produce they belong to, and
-- the raw copy's beside the verdict it is part of. A record that was replayed has landed, and is not rejected any more.
CREATE VIEW ledger AS
SELECT
    b.pipeline,
    b.batch_id,
    b.interval_start,
    b.interval_end,
    produce.fetched,
    produce.acked,
    CASE WHEN land.as_of = produce.as_of THEN land.landed + replayed.done END AS landed,
    produce.rejected + CASE WHEN land.as_of = produce.as_of THEN land.rejected - replayed.done ELSE 0 END AS rejected,
    CASE WHEN land.as_of = produce.as_of THEN land.duplicates END AS duplicates,
    CASE WHEN latest.hop = 'reconcile' THEN stand.raw_copied END AS raw_copied,
    CASE stand.state
        WHEN 'running' THEN latest.hop || ' in progress'
        WHEN 'failed' THEN latest.hop || ' failed: ' || stand.error
        WHEN 'done' THEN coalesce(replayed.state, stand.verdict)
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
    AND (stand.hop <> 'reconcile' OR stand.started >= land.finished)
CROSS JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE state = 'done') AS done,
        count(*) FILTER (WHERE state <> 'done') AS left_over,
        bool_or(state = 'running') AS running,
        max(error) AS error
    FROM replays
    WHERE replays.batch_id = b.batch_id AND replays.attempt_as_of = produce.as_of
) AS counted
CROSS JOIN LATERAL (
    SELECT
        counted.done,
        CASE WHEN counted.left_over > 0 THEN
            'replay of ' || counted.left_over || CASE counted.left_over WHEN 1 THEN ' dead letter' ELSE ' dead letters' END
            || CASE WHEN counted.running THEN ' in progress' ELSE ' failed: ' || counted.error END
        END AS state
) AS replayed;

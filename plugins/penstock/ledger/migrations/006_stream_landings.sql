-- Which offsets of a topic a stream has landed in which measurement, and which of them it set aside. They are sets and
-- not counts: a repeated micro-batch adds nothing.

CREATE TABLE stream_landings (
    measurement text NOT NULL CHECK (measurement <> ''),
    topic_id    text NOT NULL CHECK (topic_id <> ''), -- of the topic made anew, the old offsets say nothing
    partition   integer NOT NULL CHECK (partition >= 0),
    block       bigint NOT NULL CHECK (block >= 0), -- the offsets' own, divided: it bounds a row's size
    batch_id    text CHECK (batch_id <> ''), -- null for what others wrote
    as_of       timestamptz, -- of the batch's attempt; null where its records name none
    read        int8multirange NOT NULL,
    rejected    int8multirange NOT NULL,
    noted       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT one_row_an_attempt UNIQUE NULLS NOT DISTINCT (measurement, topic_id, partition, block, batch_id, as_of),
    CONSTRAINT rejected_are_among_the_read CHECK (rejected <@ read)
);

CREATE INDEX stream_landings_of_a_batch ON stream_landings (batch_id);

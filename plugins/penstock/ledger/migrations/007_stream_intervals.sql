-- What became of a stream's records whose event times are in an interval, counted anew at each hop.

CREATE TABLE stream_intervals (
    stream         text NOT NULL CHECK (stream <> ''),
    interval_start timestamptz NOT NULL,
    interval_end   timestamptz NOT NULL,

    -- By the program that collects them; null where it could not be asked.
    collected      bigint CHECK (collected >= 0),

    -- Distinct records that keep the contract.
    on_topic       bigint NOT NULL CHECK (on_topic >= 0),
    raw_copied     bigint NOT NULL CHECK (raw_copied >= 0),

    -- {where: records that its minutes add up to}
    aggregated     jsonb NOT NULL CHECK (jsonb_typeof(aggregated) = 'object'),

    -- Records that came after their minute was closed, among those counted since the interval began.
    late           bigint NOT NULL CHECK (late >= 0),

    verdict        text NOT NULL CHECK (verdict <> ''),
    judged         timestamptz NOT NULL DEFAULT now(),

    PRIMARY KEY (stream, interval_start, interval_end),
    CONSTRAINT interval_ends_after_its_start CHECK (interval_end > interval_start)
);

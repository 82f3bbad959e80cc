-- Up to when the minutes of a stream are out, where what counts them keeps account elsewhere: in the commits of its
-- consumer group. Whoever reads those writes down what it has found.

CREATE TABLE stream_minutes (
    stream        text PRIMARY KEY CHECK (stream <> ''),
    closed_before timestamptz NOT NULL, -- every minute that ends until then is out, in all partitions
    noted         timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What was done lately is asked for again and again.
CREATE INDEX hops_by_start ON hops (started DESC);

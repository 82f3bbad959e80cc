-- The calls of each host that its limits still count, and until when it asked not to be called.

CREATE TABLE calls (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    host   text NOT NULL CHECK (host <> ''),
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    weight numeric(12, 4) NOT NULL CHECK (weight > 0)
);

CREATE INDEX calls_of_a_host ON calls (host, at);

CREATE TABLE blocks (
    host  text PRIMARY KEY CHECK (host <> ''),
    until timestamptz NOT NULL
);

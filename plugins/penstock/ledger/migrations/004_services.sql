-- The long-running services: what a person wants of each, who watches it, how it was last seen, and each time that it
-- had to be restarted. All times are read from this database's clock.

CREATE TABLE services (
    name          text PRIMARY KEY CHECK (name <> ''),

    -- What a person wants. It outlives every restart of Airflow and of the service.
    desired       text NOT NULL DEFAULT 'started' CHECK (desired IN ('started', 'stopped')),
    desired_by    text NOT NULL DEFAULT 'default' CHECK (desired_by <> ''),
    desired_since timestamptz NOT NULL DEFAULT now(),

    -- The one watch that may act.
    watcher       text CHECK (watcher <> ''),
    watched_since timestamptz,

    -- What the latest look found.
    state         text NOT NULL DEFAULT 'unknown'
        CHECK (state IN ('starting', 'healthy', 'troubled', 'stalled', 'dead', 'stopped', 'unknown')),
    reason        text NOT NULL DEFAULT 'nobody has looked yet',
    since         timestamptz NOT NULL DEFAULT now(),
    pid           integer CHECK (pid > 0),
    seen          timestamptz,

    CONSTRAINT a_watcher_has_a_beginning CHECK ((watcher IS NULL) = (watched_since IS NULL))
);

CREATE TABLE service_restarts (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    service text NOT NULL REFERENCES services ON DELETE CASCADE,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    reason  text NOT NULL CHECK (reason <> '')
);

CREATE INDEX service_restarts_by_time ON service_restarts (service, at DESC);

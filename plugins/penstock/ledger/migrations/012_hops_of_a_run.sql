-- Which batches a run has worked on.

CREATE INDEX hops_of_a_run ON hops (run_id);

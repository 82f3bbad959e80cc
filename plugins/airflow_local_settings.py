"""Where Airflow looks for cluster policies.

Not an `airflow.policy` entry point: Airflow 3.3 takes a task instance's pool from the hook only where this module is
found, and with an entry point alone inserts new task instances past it (`airflow.settings.import_local_settings` is
the only place that unsets `task_instance_mutation_hook.is_noop`).
"""

from penstock.airflow.policy import task_instance_mutation_hook

__all__ = ["task_instance_mutation_hook"]

"""The name of a machine on which all of Airflow runs, and listens to itself alone."""


def hostname() -> str:
    """What the log server is asked at; Airflow's `[core] hostname_callable` of the local stack."""
    return "127.0.0.1"

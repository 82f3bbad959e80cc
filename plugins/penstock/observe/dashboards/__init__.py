"""Grafana's dashboards, as code: a module each.

`python -m penstock.observe.dashboards` writes them to include/grafana/dashboards. They are made with Grafana's SDK,
which only developers install, so nothing that runs on the platform may import this package.
"""

"""What one looks at: metrics, dashboards, alerts, lineage."""

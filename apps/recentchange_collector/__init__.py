"""Takes Wikimedia's recent changes as they are sent, and spools them in files for Flume: none lost, few repeated."""

"""The database: tables, connections, the one writer, and every query of the project."""

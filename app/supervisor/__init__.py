"""Our side of all keepers: launching, watching, ending, and telling whoever listens."""

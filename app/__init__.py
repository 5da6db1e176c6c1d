"""The service: everything but what runs beside a child."""

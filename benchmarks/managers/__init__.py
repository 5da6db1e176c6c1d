"""The measured process managers, one module each, behind the interface in base.py."""

from benchmarks.managers.base import BenchError, Manager, Program
from benchmarks.managers.circusd import Circus
from benchmarks.managers.procdeck import Procdeck
from benchmarks.managers.supervisord import Supervisord

OURS = Procdeck
PEERS: tuple[type[Manager], ...] = (Supervisord, Circus)
MANAGERS: tuple[type[Manager], ...] = (OURS, *PEERS)

__all__ = ["MANAGERS", "OURS", "PEERS", "BenchError", "Circus", "Manager", "Procdeck", "Program", "Supervisord"]

"""Simulated brokers, databases, clocks and processes, to test services and the engine under every kind of fault."""

from eventbus.simulation.faults import DAMAGES, KINDS, NEEDS_PEOPLE, Fault, plan
from eventbus.simulation.simulation import NoProgress, Setup, Simulation, WorkerStopped

__all__ = ["DAMAGES", "KINDS", "NEEDS_PEOPLE", "Fault", "NoProgress", "Setup", "Simulation", "WorkerStopped", "plan"]

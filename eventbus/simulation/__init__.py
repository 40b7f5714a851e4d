"""Simulated brokers, databases, clocks and processes, to try services and the engine under every kind of fault."""

from eventbus.simulation.faults import DAMAGES, KINDS, NEEDS_PEOPLE, Fault, plan
from eventbus.simulation.simulation import Setup, Simulation, Stuck, WorkerStopped

__all__ = ["DAMAGES", "KINDS", "NEEDS_PEOPLE", "Fault", "Setup", "Simulation", "Stuck", "WorkerStopped", "plan"]

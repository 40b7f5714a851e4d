"""Simulated brokers, databases, clocks and processes, to try services and the engine under every kind of fault."""

from eventbus.simulation.faults import KINDS, NEEDS_PEOPLE, Fault, plan
from eventbus.simulation.simulation import Setup, Simulation, Stuck, WorkerStopped

__all__ = ["KINDS", "NEEDS_PEOPLE", "Fault", "Setup", "Simulation", "Stuck", "WorkerStopped", "plan"]

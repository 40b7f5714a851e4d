"""Simulated brokers, databases, clocks and processes, to try services and the engine under every kind of fault."""

from eventbus.simulation.faults import KINDS, Fault, plan
from eventbus.simulation.simulation import Setup, Simulation, Stuck, WorkerStopped

__all__ = ["KINDS", "Fault", "Setup", "Simulation", "Stuck", "WorkerStopped", "plan"]

"""Kills workers at every step of every service on a real broker, and looks whether anything is lost or doubled."""

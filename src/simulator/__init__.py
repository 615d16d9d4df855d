"""Simulated model providers: real wire protocols, misbehaving on command.

They share no code with the broker, so that the two cannot share a mistake.
"""

from .script import Dialect, Script, ScriptError, parse_script, read_script
from .server import Simulator

__all__ = ["Dialect", "Script", "ScriptError", "Simulator", "parse_script", "read_script"]

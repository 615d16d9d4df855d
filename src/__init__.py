"""modelbroker: a broker between agents and models, on Envoy."""

__version__ = "0.1.0"

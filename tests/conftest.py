"""What holds for every test."""

from hypothesis import HealthCheck, settings
from support.servers import postgres, redis, s3

__all__ = ["postgres", "redis", "s3"]  # fixtures of the whole run

# A slow machine is no failure: how long an example takes is for bench/ to say.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")

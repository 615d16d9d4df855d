"""What holds for every test."""

import os

from hypothesis import HealthCheck, settings
from support.servers import postgres, redis, s3

__all__ = ["postgres", "redis", "s3"]  # fixtures of the whole run

# Nobody is asked who this machine is: what it would be asked at is no loopback.
os.environ |= {"AWS_EC2_METADATA_DISABLED": "true", "NO_GCE_CHECK": "true"}
# A slow machine is no failure: how long an example takes is for bench/ to say.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")

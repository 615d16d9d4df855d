# The control plane (`serve`) and the simulator (`mock`). Envoy runs beside it, from its official image.
FROM python:3.11-slim

WORKDIR /opt/modelbroker
COPY pyproject.toml setup.py README.md LICENSE NOTICE ./
COPY src ./src
# --build-arg EXTRAS=postgres,redis,vault: what of pyproject.toml's extras the configuration needs.
ARG EXTRAS=postgres,redis,otlp,audit,console
RUN pip install --no-cache-dir ".[${EXTRAS}]"

# The user of the official Envoy image: both share the folder of their sockets.
RUN mkdir -p /run/modelbroker /var/lib/modelbroker /etc/modelbroker \
    && chown 101:101 /run/modelbroker /var/lib/modelbroker
USER 101
ENV HOME=/var/lib/modelbroker
VOLUME ["/run/modelbroker", "/var/lib/modelbroker"]

ENTRYPOINT ["modelbroker"]
CMD ["serve", "--config", "/etc/modelbroker", "--state-dir", "/var/lib/modelbroker", \
     "--address", "0.0.0.0", "--admin", "0.0.0.0:8081", \
     "--xds", "unix:/run/modelbroker/xds.sock", "--ext-proc", "unix:/run/modelbroker/ext-proc.sock", \
     "--ejections", "/run/modelbroker/ejections.log"]

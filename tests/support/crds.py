"""What the chart uses of other projects' objects, as schemas of our own: Kubernetes' know nothing of them.

They are closed: a field that is not here is one that nobody has looked up. Written after the references of
cert-manager (Certificate), the Prometheus operator (PodMonitor), Kyverno (Policy) and Istio.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string", "minLength": 1}
PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}


def closed(required: tuple[str, ...] = (), **fields: Schema) -> Schema:
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}


def many(item: Schema) -> Schema:
    return {"type": "array", "items": item, "minItems": 1}


def one_of(*values: str) -> Schema:
    return {"enum": list(values)}


TEXTS = many(TEXT)
LABELS: Schema = {"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1}
_SELECTOR = closed(("matchLabels",), matchLabels=LABELS)
_SERVER_PORT = closed(("number", "name", "protocol"), number=PORT, name=TEXT, protocol=one_of("TLS"))
_DESTINATION = closed(("host",), host=TEXT, port=closed(("number",), number=PORT))
_TLS_ROUTE = closed(
    ("match", "route"),
    match=many(closed(("sniHosts",), gateways=TEXTS, port=PORT, sniHosts=TEXTS)),
    route=many(closed(("destination",), destination=_DESTINATION)),
)
_POD_PATCH = closed(
    ("initContainers", "containers", "volumes"),
    initContainers={"type": "array"},  # Kubernetes' own schemas judge them, in a pod
    volumes={"type": "array"},
    containers=many({"type": "object", "required": ["(name)", "env"]}),
)

# (apiVersion, kind) → the schema of its `spec`.
SPECS: dict[tuple[str, str], Schema] = {
    ("cert-manager.io/v1", "Certificate"): closed(
        ("secretName", "issuerRef", "dnsNames"),
        secretName=TEXT,
        issuerRef=closed(("name",), kind=one_of("Issuer", "ClusterIssuer"), name=TEXT, group=TEXT),
        usages=many(one_of("server auth", "client auth")),
        dnsNames=TEXTS,
        uris=TEXTS,
    ),
    ("monitoring.coreos.com/v1", "PodMonitor"): closed(
        ("selector", "podMetricsEndpoints"),
        selector=_SELECTOR,
        podMetricsEndpoints=many(closed(port=TEXT, path=TEXT, interval=TEXT)),
    ),
    ("kyverno.io/v1", "Policy"): closed(
        ("rules",),
        rules=many(
            closed(
                ("name", "match", "mutate"),
                name=TEXT,
                match=closed(
                    any=many(
                        closed(
                            ("resources",),
                            resources=closed(kinds=TEXTS, operations=TEXTS, annotations=LABELS),
                        )
                    )
                ),
                mutate=closed(patchStrategicMerge=closed(("spec",), spec=_POD_PATCH)),
            )
        ),
    ),
    ("networking.istio.io/v1", "ServiceEntry"): closed(
        ("hosts", "ports", "resolution"),
        hosts=TEXTS,
        exportTo=TEXTS,
        location=one_of("MESH_EXTERNAL"),
        resolution=one_of("DNS"),
        ports=many(_SERVER_PORT),
    ),
    ("networking.istio.io/v1", "DestinationRule"): closed(
        ("host",),
        host=TEXT,
        trafficPolicy=closed(tls=closed(("mode",), mode=one_of("DISABLE", "ISTIO_MUTUAL"))),
    ),
    ("networking.istio.io/v1", "Gateway"): closed(
        ("selector", "servers"),
        selector=LABELS,
        servers=many(
            closed(("port", "hosts"), port=_SERVER_PORT, hosts=TEXTS, tls=closed(mode=one_of("PASSTHROUGH")))
        ),
    ),
    ("networking.istio.io/v1", "VirtualService"): closed(
        ("hosts", "gateways", "tls"), hosts=TEXTS, gateways=TEXTS, tls=many(_TLS_ROUTE)
    ),
    ("security.istio.io/v1", "PeerAuthentication"): closed(
        ("mtls",),
        selector=_SELECTOR,
        mtls=closed(("mode",), mode=one_of("STRICT")),
        portLevelMtls={
            "type": "object",
            "propertyNames": {"pattern": "^[0-9]+$"},
            "additionalProperties": closed(("mode",), mode=one_of("DISABLE", "STRICT")),
        },
    ),
    ("security.istio.io/v1", "AuthorizationPolicy"): closed(
        ("selector", "action", "rules"),
        selector=_SELECTOR,
        action=one_of("ALLOW"),
        rules=many(
            closed(
                ("from", "to"),
                **{
                    "from": many(closed(("source",), source=closed(namespaces=TEXTS))),
                    "to": many(closed(("operation",), operation=closed(ports=TEXTS))),
                },
            )
        ),
    ),
}

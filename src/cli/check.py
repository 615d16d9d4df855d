"""`check`: everything that is wrong with a configuration, before it is live."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ..core.catalog import Catalog
from ..core.errors import Misconfigured
from ..envoyapi.loader import envoy_binary
from ..evals.custom import function_named
from ..xds.bootstrap import BootstrapOptions, bootstrap
from ..xds.clusters import system_ca_file
from ..xds.snapshot import Versions
from ..xds.types import ADS, CLUSTER, ENDPOINTS, EXTENSION, LISTENER, OUTER_ROUTES, ROUTES, SECRET
from .capture import located
from .certificates import key_troubles, troubles
from .missing import missing_files
from .prices import price_list_or_warning
from .runtime import Overrides, Ready, prepare_path

_VALIDATE_TIMEOUT_S = 60


def check_path(path: Path | str, *, with_envoy: bool) -> int:
    """Prints what is wrong on stderr. 0: it can be served; warnings do not change that."""
    ready = prepare_path(path, Overrides(), price_list=price_list_or_warning(), priced_at_s=int(time.time()))
    errors, mild = of_files(ready, time.time(), is_here=with_envoy)
    more = [located(warning, ready.texts) for warning in ready.audit_warnings]
    # What else a running broker warns of is an error here.
    for warning in (*ready.compile_warnings, *ready.resolved.warnings, *more, *mild):
        print(f"warning: {warning}", file=sys.stderr)
    if errors:
        raise Misconfigured(500, "listener_certificate", "\n".join(errors))
    judged = "; Envoy takes it" if judge(ready, with_envoy=with_envoy) else ""
    said = [pool for pool in ready.catalog.pools.values() if not pool.is_made]
    pools, members = len(said), sum(len(pool.members) for pool in said)
    print(f"{path}: good: revision {ready.catalog.revision}, {pools} pools, {members} members{judged}")
    return 0


def of_files(ready: Ready, now_s: float, *, is_here: bool) -> tuple[list[str], list[str]]:
    """(errors, warnings) of the files that it names. Of the listener's certificates and its key: Envoy has no
    word for what has expired, and none of the field for the rest. What is not there may be where the broker
    runs; of the listener's it is an error where the broker runs here (`is_here`)."""
    found = troubles(ready.certificates, now_s)
    if ready.certificates:
        found += key_troubles(ready.catalog.listen, ready.certificates[0])
    errors: list[str] = []
    warnings: list[str] = []
    for each in found:
        if each.is_away and not is_here:
            warnings.append(f"{each} on this machine; Envoy needs it on the one where it runs")
        else:
            (errors if each.is_fatal else warnings).append(str(each))
    mild = [located(warning, ready.texts) for warning in warnings]
    mild += missing_files(ready.catalog, ready.texts)
    return [located(error, ready.texts) for error in errors], mild


def judge(ready: Ready, *, with_envoy: bool, is_here: bool = True) -> bool:
    """Misconfigured where it can't be served as it stands; where the broker runs on another machine (not
    `is_here`), where it can't be whatever secrets and files there are. Has Envoy judged it?"""
    if ready.problems:
        raise Misconfigured(500, "jwks_unreadable", "\n".join(ready.problems))
    if is_here and ready.capture_why:
        raise Misconfigured(500, "capture_unset", located(ready.capture_why, ready.texts))
    if is_here and (why := ready.telemetry_why or ready.content_why):
        raise Misconfigured(500, "telemetry_unset", located(why, ready.texts))
    for name in _functions(ready.catalog):
        function_named(name)
    if with_envoy and (complaint := envoy_complaint(ready.snapshot.resources, is_here=is_here)):
        raise Misconfigured(500, "envoy_refuses", f"Envoy would refuse this configuration: {complaint}")
    return with_envoy


def _functions(catalog: Catalog) -> list[str]:
    """Users' own scorers, which a process beside the broker will call."""
    rollouts = [one.rollout for one in catalog.trials.values() if one.rollout is not None]
    scores = [stage.scores for one in rollouts for stage in one.stages if stage.scores is not None]
    said = [json.loads(scorer.said) for one in scores for scorer in one.by if scorer.kind == "python"]
    return sorted({one["function"] for one in said})


def envoy_complaint(resources: Versions, *, is_here: bool = True) -> str:
    """What `envoy --mode validate` says against these resources; "" where it takes them. Not `is_here`: what
    is in files that are not there is nothing to it."""
    try:
        binary = envoy_binary()
    except ImportError:
        print("warning: there is no Envoy here to judge the result", file=sys.stderr)
        return ""
    with tempfile.TemporaryDirectory(prefix="modelbroker-check-") as folder:
        path = Path(folder) / "envoy.json"
        tree = static_configuration(resources)
        path.write_text(json.dumps(tree if is_here else _without_absent(tree)), encoding="utf-8")
        command = [str(binary), "--mode", "validate", "-c", str(path), "--log-level", "error"]
        done = subprocess.run(  # noqa: S603 - Envoy itself, on a file that was just written
            command, capture_output=True, text=True, timeout=_VALIDATE_TIMEOUT_S, check=False
        )
    if done.returncode == 0:
        return ""
    return next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "it gave no reason")


def static_configuration(resources: Versions) -> dict[str, Any]:
    """The same resources as Envoy would get over ADS, in one file that it can validate alone."""
    tree = bootstrap(BootstrapOptions("127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:0"))
    tree.pop("dynamic_resources")
    static = tree["static_resources"]
    clusters = [_inline_endpoints(r.tree, resources) for r in resources[CLUSTER].values()]
    static["clusters"] = [*static["clusters"], *clusters]
    static["secrets"] = [resource.tree for resource in resources[SECRET].values()]
    listeners = [resource.tree for resource in resources[LISTENER].values()]
    static["listeners"] = [_without_ads(listener, resources) for listener in listeners]
    return tree


def _inline_endpoints(cluster: dict[str, Any], resources: Versions) -> dict[str, Any]:
    if cluster["type"] != "EDS":
        return cluster
    rest = {key: value for key, value in cluster.items() if key != "eds_cluster_config"}
    return {**rest, "type": "STATIC", "load_assignment": resources[ENDPOINTS][cluster["name"]].tree}


def _without_ads(tree: Any, resources: Versions) -> Any:
    """Routes and secrets in place of the words that they come over ADS."""
    if isinstance(tree, list):
        return [_without_ads(item, resources) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if "rds" in tree:
        rest = {key: value for key, value in tree.items() if key != "rds"}
        return _without_ads({**rest, "route_config": resources[ROUTES][OUTER_ROUTES].tree}, resources)
    if "config_discovery" in tree:
        return resources[EXTENSION][tree["name"]].tree
    if tree.get("sds_config") == ADS:
        return {"name": tree["name"]}
    return {key: _without_ads(value, resources) for key, value in tree.items()}


def _without_absent(tree: Any) -> Any:
    """The system's authorities in place of those that are not there; no TLS where there is no certificate."""
    if isinstance(tree, list):
        return [_without_absent(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    kept = dict(tree)
    if _is_absent(tree.get("trusted_ca")):
        kept["trusted_ca"] = {"filename": system_ca_file()}
    if "transport_socket" in tree:
        context = tree["transport_socket"]["typed_config"]["common_tls_context"]
        certificates = context.get("tls_certificates", ())
        if any(_is_absent(file) for certificate in certificates for file in certificate.values()):
            del kept["transport_socket"]
    return {key: _without_absent(value) for key, value in kept.items()}


def _is_absent(source: Any) -> bool:
    return isinstance(source, dict) and "filename" in source and not Path(source["filename"]).exists()

"""How the broker itself does, and its Envoy."""

from __future__ import annotations

from .panels import Dashboard, Panel, Row, of, rate

_GOOD_AT_1 = (("red", None), ("green", 1.0))
_BAD_ABOVE_0 = (("green", None), ("red", 1.0))


def _now(metric: str, by: str = "instance", more: str = "") -> str:
    return f"sum by ({by}) ({of(metric, more, by_pool=False)})"


def _a_second(metric: str, by: str, more: str = "") -> str:
    return rate(metric, by, more, by_pool=False)


_CONFIGURATION = Row(
    "Configuration",
    (
        Panel(
            "In effect",
            "1: every connected Envoy has all of the configuration.",
            "none",
            ((f"min({of('modelbroker_config_in_effect', by_pool=False)})", "in effect"),),
            "stat",
            4,
            steps=_GOOD_AT_1,
        ),
        Panel(
            "Refused",
            "1: the configuration on the disk is not the one that is served.",
            "none",
            ((f"max({of('modelbroker_config_refused', by_pool=False)})", "refused"),),
            "stat",
            4,
            steps=_BAD_ABOVE_0,
        ),
        Panel(
            "Loaded",
            "When the configuration was loaded.",
            "dateTimeFromNow",
            ((f"1000 * max({of('modelbroker_config_loaded_timestamp_seconds', by_pool=False)})", "loaded"),),
            "stat",
            4,
        ),
        Panel(
            "Revisions",
            "Which revision how many brokers have loaded: more than one is an edit on its way, or drift.",
            "none",
            ((_now("modelbroker_config_info", "revision"), "{{revision}}"),),
            width=12,
            stacked=True,
        ),
        Panel(
            "Edits an hour",
            "Configurations read after an edit.",
            "none",
            ((f"3600 * {_a_second('modelbroker_config_reloads_total', 'result')}", "{{result}}"),),
            width=6,
        ),
        Panel(
            "Envoys",
            "Connected to each control plane.",
            "none",
            ((_now("modelbroker_xds_envoys"), "{{instance}}"),),
            width=6,
        ),
        Panel(
            "Pushes to Envoys",
            "Configuration sent, taken and refused.",
            "ops",
            (
                (_a_second("modelbroker_xds_pushes_total", "type"), "{{type}} sent"),
                (_a_second("modelbroker_xds_acks_total", "type"), "{{type}} taken"),
                (_a_second("modelbroker_xds_nacks_total", "type"), "{{type}} refused"),
            ),
            width=12,
        ),
    ),
)
_RECORDS = Row(
    "Records and the ledger",
    (
        Panel(
            "Records written",
            "Into the journal, and from there into the ledger.",
            "ops",
            (
                (_a_second("modelbroker_records_written_total", "instance"), "journal {{instance}}"),
                (_a_second("modelbroker_ledger_records_total", "instance"), "ledger {{instance}}"),
            ),
        ),
        Panel(
            "Records that wait",
            "For the disk to have room; calls that were answered and have no record yet.",
            "none",
            (
                (_now("modelbroker_records_waiting"), "for the disk {{instance}}"),
                (_now("modelbroker_open_entries"), "open calls {{instance}}"),
            ),
        ),
        Panel(
            "The ledger is behind by",
            "What of the journal is not in it yet.",
            "bytes",
            ((_now("modelbroker_ledger_behind_bytes"), "{{instance}}"),),
        ),
        Panel(
            "Records that are lost or incomplete, an hour",
            "Given up, gone before the ledger had them, refused by it, without an attempt, or "
            "of calls whose end nobody told.",
            "none",
            tuple(
                (f"3600 * {_a_second(metric, 'instance')}", f"{what} {{{{instance}}}}")
                for metric, what in (
                    ("modelbroker_records_unwritten_total", "not written"),
                    ("modelbroker_records_unread_total", "gone unread"),
                    ("modelbroker_ledger_refused_records_total", "refused by the ledger"),
                    ("modelbroker_records_incomplete_total", "incomplete"),
                    ("modelbroker_calls_lost_total", "calls lost"),
                )
            ),
            width=12,
        ),
        Panel(
            "What should run, and runs",
            "1: it does. Nothing: it is not wanted.",
            "none",
            (
                (_now("modelbroker_ledger_up"), "ledger {{instance}}"),
                (_now("modelbroker_capture_up"), "capture {{instance}}"),
                (_now("modelbroker_shadow_up"), "shadows {{instance}}"),
                (_now("modelbroker_secret_good", "secret"), "secret {{secret}}"),
                (_now("modelbroker_provider_set_up", "provider"), "provider {{provider}}"),
            ),
            width=12,
        ),
    ),
)
_TRIALS = Row(
    "Shadows, rollouts, captured traffic",
    (
        Panel(
            "Copies of calls",
            "By what became of them.",
            "reqps",
            ((_a_second("modelbroker_shadow_copies_total", "shadow, result"), "{{shadow}}: {{result}}"),),
            stacked=True,
        ),
        Panel(
            "Rollouts: the candidate's share",
            "0 to 1 of the sessions; it goes by stages.",
            "percentunit",
            (("max by (rollout) (" + of("modelbroker_rollout_share", by_pool=False) + ")", "{{rollout}}"),),
        ),
        Panel(
            "Rollouts: calls that count",
            "By arm, and whether they were good.",
            "reqps",
            (
                (
                    _a_second("modelbroker_rollout_calls_total", "rollout, arm, result"),
                    "{{rollout}} {{arm}}: {{result}}",
                ),
            ),
            stacked=True,
        ),
        Panel(
            "Captured calls",
            "By what became of them.",
            "ops",
            ((_a_second("modelbroker_capture_samples_total", "result"), "{{result}}"),),
            width=12,
        ),
        Panel(
            "Captured calls that wait",
            "For the writer.",
            "bytes",
            ((_now("modelbroker_capture_queued_bytes"), "{{instance}}"),),
            width=12,
        ),
    ),
)
_PROCESSES = Row(
    "Processes",
    (
        Panel(
            "CPU of the control plane",
            "1: a whole core.",
            "none",
            ((f"rate({of('process_cpu_seconds_total', by_pool=False)}[$__rate_interval])", "{{instance}}"),),
        ),
        Panel(
            "Memory",
            "Resident in the control plane; in Envoy, as it counts itself.",
            "bytes",
            (
                (
                    "sum by (instance) (" + of("process_resident_memory_bytes", by_pool=False) + ")",
                    "control plane {{instance}}",
                ),
                (_now("envoy_server_memory_physical_size"), "Envoy {{instance}}"),
            ),
        ),
        Panel(
            "Descriptors of the control plane",
            "Files and connections that are open.",
            "none",
            ((of("process_open_fds", by_pool=False), "{{instance}}"),),
        ),
    ),
)
_OUTER = 'envoy_http_conn_manager_prefix="outer"'
_ENVOY = Row(
    "Envoy",
    (
        Panel(
            "Calls under way",
            "On the listener that clients connect to.",
            "none",
            ((_now("envoy_http_downstream_rq_active", more=_OUTER), "{{instance}}"),),
        ),
        Panel(
            "Connections of clients",
            "That are open.",
            "none",
            ((_now("envoy_http_downstream_cx_active", more=_OUTER), "{{instance}}"),),
        ),
        Panel(
            "Replies by class",
            "As clients got them: 2 is 2xx.",
            "reqps",
            (
                (
                    _a_second("envoy_http_downstream_rq_xx", "envoy_response_code_class", _OUTER),
                    "{{envoy_response_code_class}}xx",
                ),
            ),
            stacked=True,
        ),
        Panel(
            "Requests to pools and providers",
            "As Envoy counts them, by its cluster.",
            "reqps",
            (
                (
                    _a_second(
                        "envoy_cluster_upstream_rq_total",
                        "envoy_cluster_name",
                        'envoy_cluster_name=~"(pool|provider)/.*"',
                    ),
                    "{{envoy_cluster_name}}",
                ),
            ),
        ),
        Panel(
            "Messages to the control plane",
            "Of calls (ext_proc): what it is asked, and where.",
            "ops",
            (
                (
                    "sum by (instance) (rate("
                    + of("envoy_http_ext_proc_stream_msgs_sent", by_pool=False)
                    + "[$__rate_interval]))",
                    "{{instance}}",
                ),
            ),
        ),
        Panel(
            "Under pressure",
            "Envoy's heap, as a part of what it may have: from 0.95 on it refuses new calls.",
            "percent",
            ((_now("envoy_overload_envoy_resource_monitors_fixed_heap_pressure"), "{{instance}}"),),
        ),
    ),
)

BROKER = Dashboard(
    "broker",
    "modelbroker: the broker itself",
    "Configuration and who has it, records and where they wait, trials, processes, and Envoy "
    "by its own word.",
    (_CONFIGURATION, _RECORDS, _TRIALS, _PROCESSES, _ENVOY),
)

"""What dashboards are made of. Each panel is a title, what it says, a unit and its queries with their
legends; `$datasource` is the Prometheus to ask, `$pool` and `$instance` what is looked at."""

from __future__ import annotations

from dataclasses import dataclass

NANO = 1_000_000_000  # cost is counted in nano-dollars
# Calls of clients: copies, judges and evaluations are looked at apart.
CLIENTS = 'purpose=""'


@dataclass(frozen=True)
class Panel:
    """`queries`: (PromQL, legend). `unit` is Grafana's name of it; `stacked`: parts of a whole. `steps`: from
    which value on it has which colour."""

    title: str
    description: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    width: int = 8
    stacked: bool = False
    steps: tuple[tuple[str, float | None], ...] = (("green", None),)


@dataclass(frozen=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    name: str  # of its file
    title: str
    description: str
    rows: tuple[Row, ...]


def of(metric: str, more: str = "", *, by_pool: bool = True) -> str:
    """The metric's series that are looked at."""
    said = ['instance=~"$instance"', *(['pool=~"$pool"'] if by_pool else []), *([more] if more else [])]
    return f"{metric}{{{', '.join(said)}}}"


def rate(metric: str, by: str = "", more: str = "", *, by_pool: bool = True) -> str:
    """A second, summed up."""
    return f"sum{f' by ({by})' if by else ''} (rate({of(metric, more, by_pool=by_pool)}[$__rate_interval]))"


def quantile(part: float, metric: str, by: str = "", more: str = "") -> str:
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({part}, {rate(f'{metric}_bucket', labels, more)})"


def quantiles(metric: str, by: str = "") -> tuple[tuple[str, str], ...]:
    legend = "".join(f" {{{{{name.strip()}}}}}" for name in by.split(",") if name)
    return tuple((quantile(part, metric, by), f"p{round(part * 100)}{legend}") for part in (0.5, 0.95, 0.99))


def cost(by: str = "") -> str:
    """Dollars an hour."""
    return f"3600 * {rate('modelbroker_cost_nano_dollars_total', by)} / {NANO}"

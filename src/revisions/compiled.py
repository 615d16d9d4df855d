"""Configurations as they are compared: compiled with the prices of today, whoever compares them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from ..dialects import BUILT, DEVIATIONS, KNOWN
from ..prices.bundled import NoPriceList, PriceList, bundled
from ..settings import Loaded, compile_texts


def compiled(texts: Mapping[str, str], now_s: int) -> Loaded:
    """SettingsError with all that is wrong."""
    price_list: PriceList | None = None
    with contextlib.suppress(NoPriceList):  # then what comes with the broker costs what nobody knows
        price_list = bundled()
    return compile_texts(
        texts,
        dialects=KNOWN,
        built=BUILT,
        deviations=DEVIATIONS,
        price_list=price_list,
        priced_at_s=now_s,
        warned_at_s=now_s,
    )

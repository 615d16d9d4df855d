"""What a member counted and wrote, in sums."""

from __future__ import annotations


class Sums:
    """Of one member, over calls: the estimate of the prompt (e), what it counted (p), what it wrote (w), and
    what that cost (k)."""

    __slots__ = ("e", "ee", "ep", "k", "kk", "n", "p", "pp", "w", "ww")

    def __init__(self) -> None:
        self.n = 0.0
        self.e = self.p = self.w = self.ee = self.ep = self.pp = self.ww = self.k = self.kk = 0.0

    def add(self, e: float, p: float, w: float, k: float) -> None:
        self.n += 1
        self.e += e
        self.p += p
        self.w += w
        self.ee += e * e
        self.ep += e * p
        self.pp += p * p
        self.ww += w * w
        self.k += k
        self.kk += k * k

    def merge(self, other: Sums) -> None:
        for name in Sums.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def worth(self, per_lot: float) -> Sums:
        """The same of calls of which so many are worth one, since one lot fell for all of them."""
        found = Sums()
        for name in Sums.__slots__:
            setattr(found, name, getattr(self, name) / per_lot)
        return found

    @property
    def per_estimate(self) -> float:
        return self.p / self.e if self.e else 1.0

    @property
    def prompt_variance(self) -> float:
        """Of a prompt, beside what its estimate tells."""
        r = self.per_estimate
        return max(0.0, self.pp - 2 * r * self.ep + r * r * self.ee) / max(1, self.n - 1)

    @property
    def written(self) -> float:
        return self.w / self.n if self.n else 0.0

    @property
    def written_variance(self) -> float:
        return max(0.0, self.ww - self.n * self.written**2) / max(1, self.n - 1)

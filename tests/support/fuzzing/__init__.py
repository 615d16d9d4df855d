"""What the fuzz tests share: how many cases, by which seed, and how a case is sent and judged."""

"""What the real-Envoy tests share."""

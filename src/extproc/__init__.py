"""Floor 3, a shell: Envoy's external-processing protocol around the exchange."""

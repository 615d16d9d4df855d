"""Floor 3, a shell: Envoy's access logs → one record a call."""

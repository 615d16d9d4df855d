"""Floor 3, a shell: Catalog → Envoy's resources → snapshot → delta ADS."""

"""What was done, for a SIEM: audit events in a chain that shows tampering, and the sinks that get them."""

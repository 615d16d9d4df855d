"""What goes to a collector by OTLP: spans and log records, made of the records of calls."""

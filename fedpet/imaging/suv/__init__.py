"""From stored values to SUV: inputs, rules by vendor, timing, tracer, overrides."""

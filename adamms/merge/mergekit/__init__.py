"""mergekit's methods, settings and gradients as a schedule; adamms/app/recipes reads the YAML."""

"""mergekit's methods, settings and gradients as a schedule; `adamms.app.mergekit_yaml` reads the YAML."""

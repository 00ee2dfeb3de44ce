"""The published studies, one TOML file each."""

"""Every setting once: its value, bounds, option and help (`config`, and `run` for what changes no number); which
settings go together (`conflicts`); the published recipes (`presets`); settings in a file (`settings_file`)."""

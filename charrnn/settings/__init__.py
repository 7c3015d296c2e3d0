"""Every setting once: its values, bounds, option and help; which settings go together; the presets."""

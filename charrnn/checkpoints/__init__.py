"""One safetensors file is one checkpoint (`checkpoint`); a run's `folder` holds its checkpoints and its log."""

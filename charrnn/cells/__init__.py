"""The recurrent cells and their wrappers: one step of recurrence each, in code that runs on both numpy and torch."""

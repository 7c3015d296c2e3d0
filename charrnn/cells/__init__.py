"""One step of recurrence: each cell and each wrapper of a cell, in code that runs on numpy and on torch alike."""

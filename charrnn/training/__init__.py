"""`charrnn train`: a run as a generator of events (`trainer`), one update of the weights (`learner`, `optimizers`),
whether a run starts, resumes or is refused (`plan`), what is chosen for the user (`recipe`), when to validate and
save (`pace`), and the text as lanes and windows (`lanes`, brought to the device by `feed`)."""

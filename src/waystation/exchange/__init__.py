"""What goes out of a study, and what comes in: predictions on new text, whole checkpoints, systems from elsewhere."""

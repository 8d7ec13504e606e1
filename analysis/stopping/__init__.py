"""What a scheduler that stops trainings early saves, what it costs, and whom it stops."""

"""What a scheduler that stops trainings early saves, what it costs, and which trainings it stops."""

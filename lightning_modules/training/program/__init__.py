"""Programs: functions of tensors that are recorded once and replayed without Python, autograd, vmap or allocation."""

"""Networks and differentiable transforms: torch only, tensors in and tensors out."""

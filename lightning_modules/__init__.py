"""The science of training: data and its corruption, model families, and the cohort that trains many runs as one."""

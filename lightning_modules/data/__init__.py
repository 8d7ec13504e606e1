"""Where data comes from (`sources`), how it is made noisy (`corruption`), how batches are varied (`augmentation`)."""

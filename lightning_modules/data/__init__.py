"""Data sets (`sources`), noise in labels and inputs (`corruption`), and augmentation of batches (`augmentation`)."""

"""What both trainers share: augmentation, order of images, optimizer, machine."""

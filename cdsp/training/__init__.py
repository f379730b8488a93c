"""What both trainers share: the contract with what they train, the loop, images, optimizer."""

"""What a network of each kind learns: one module each, which its kind names."""

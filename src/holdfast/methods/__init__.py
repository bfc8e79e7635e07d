"""Class names or labelled images in, an adapted model out: one module per paper."""

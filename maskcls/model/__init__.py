"""The network: backbone and heads, losses, pretrained weights, inference, composed models."""

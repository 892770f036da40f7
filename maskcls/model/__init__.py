"""The network: backbone and heads, losses, weights, inference, and several models that answer as one."""

"""The network: backbone and heads, losses, pretrained weights, inference; and several joined to one."""

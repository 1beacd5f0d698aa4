"""Networks on their way out: a `coevo.networks.graph.Graph` and its trained module as ONNX and as a file of torch.

Both are written node by node from the one description, so that a node has its name there too; what they compute is
held against the module (`coevo.networks.exporting.agreement`).
"""

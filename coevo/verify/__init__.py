"""Another tool's word on the designs of a front: inputs for it, its figures, and how far ours are from them."""

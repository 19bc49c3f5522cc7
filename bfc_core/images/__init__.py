"""Real networks on images: reading datasets, training networks with named blocks, tapping every layer.

`datasets`, `archives`, `formats` and `tensorfiles` need numpy and Pillow only; the rest needs torch.
Importing this package loads neither.
"""

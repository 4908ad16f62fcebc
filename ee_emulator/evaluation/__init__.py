"""How values are computed: the interpreter of expression graphs, the registry of algorithms with the conversion of
their arguments, and the methods that several algorithms share.
"""

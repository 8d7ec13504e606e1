"""Inspection of a user's network before it is trained: is it a function of its tensors and inputs alone?

A stack runs K networks as one function of their parameters and buffers, in one Python object. Everything else that a
network keeps is that of one member, and everything random that does not come from memsweep differs between runs. Such a
network would train without an error, to numbers that nobody can repeat. So it is built and run on a few examples first,
by itself (`alone`) and in a stack of two (`stacked`), and refused in one sentence. `inspect` remembers what passed.
"""

"""FP8 scaled matrix products in Triton, their oracle, and the golden check. Needs the extra ``gpu``; imports without.

torch and Triton are imported inside functions only, and kernels are built on their first call.
"""

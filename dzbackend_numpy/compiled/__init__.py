"""Formulas as compiled loops.

emit.py (values and lines of LLVM's language) · mathematics.py (exp, log …) · operations.py (what NumPy's functions are
there) · kernel.py (the loop) · native.py (machine code) · loops.py (its calls) · sequence.py (products and
formulas, step by step) · product.py (of few rows) · windows.py (pooling).
"""

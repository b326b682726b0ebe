"""`jax.lax.scan` with a backward pass of its own, for any body: the fast path.

What JAX makes of a scan's gradient is right and slow: it sums the weights' gradients in the loop, and it stores the
operands of every elementary operation. Here the body is traced once and read as a list of equations:

- What depends on constants alone (a part of a weight, or its cast) is computed once, before the loop.
- A product with such a weight is not differentiated in the loop back, which keeps the cotangent ȳ of the result; the
  weight's gradient is one product after the loop, Σ_t x_tᵀ ȳ_t.
- A product of bfloat16 factors has a float32 cotangent, which is rounded to bfloat16 before the products on the way
  back. Sums stay float32.
- tanh and σ are differentiated by what they returned, so none is computed on the way back; neighboring gates of one
  block are one pass over the block.
- The loop back is traced before the loop forward, which stores what that needs and nothing else.

All else of the body is differentiated by JAX, a step at a time. Second derivatives are those of the two loops; forward
mode is JAX's alone, through a plain scan.

`equations` reads and runs equations, `operations` are the two kinds that are known by more than name, `step` sorts a
body's equations, `loop` runs them forward and back.
"""

from nlstm_jax.unroll.fused.loop import hoisted, scan

__all__ = ["hoisted", "scan"]

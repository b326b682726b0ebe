"""`jax.lax.scan` with a backward pass of its own, for any body: the fast loop.

JAX's gradient of a scan is correct and slow: it adds up the gradients of the weights in the loop, and it stores the
operands of every elementary operation. Here the body is traced once and read as a list of equations:

- Equations that depend on constants alone (a slice of a weight, or its cast) are computed once, before the loop.
- A matmul with such a weight is not differentiated for the weight in the backward loop, which stacks the cotangent ȳ
  of the result instead. The gradient of the weight is one matmul after the loop, Σ_t x_tᵀ ȳ_t.
- A matmul of bfloat16 factors has a float32 cotangent, which is rounded to bfloat16 before the matmuls of the backward
  pass. Sums stay float32.
- tanh and σ are differentiated by their results, so neither is computed in the backward loop. Neighboring gates of one
  array are one pass over the array.
- The backward loop is traced before the forward loop, which stores the values that the backward loop needs and
  nothing else.

JAX differentiates everything else in the body, one step at a time. Second derivatives are those of the two loops.
There is no forward mode; a plain scan has it.

docs/fused.md explains the loop, with the equations of an LSTM before and after, and lists the private facts of JAX
that it depends on. benchmarks/handwritten.py is the same backward pass written by hand for the LSTM.

- `equations` reads traced functions as lists of equations and runs these.
- `operations` defines the two kinds of operation that have derivatives of their own.
- `step` sorts the equations of a body.
- `backward` traces and runs the backward loop.
- `loop` traces the body, runs the forward loop and joins the two by `jax.custom_vjp`.
"""

from nlstm_jax.unroll.fused.loop import Loop, apply_each_gate, hoisted, scan

__all__ = ["Loop", "apply_each_gate", "hoisted", "scan"]

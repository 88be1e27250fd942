"""A simulated CUDA device for CuPy itself: its memory is the host's, and NumPy runs the PTX of its kernels.

NVRTC compiles kernels as for a device, so what runs is what a device would run, instruction by instruction:
`ptx` reads it, `machine` runs a grid of threads by it (`arithmetic`, `warps` and `memory` have the
instructions), `races` looks for accesses that nothing orders. `device` puts this in the place of the CUDA
driver and of CuPy's runtime calls, most of which `driver.c` answers; `plugin` does so for pytest. The machine
also checks what a device does not: every access to the byte, alignment, barriers that some threads never
reach, shuffles without a lane that their mask names, and what a launch may ask for.

Time, streams and caches are not simulated: work is done when it is asked for.
"""

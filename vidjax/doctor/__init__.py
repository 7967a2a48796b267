"""Whether this machine has what vidjax needs: packages, devices, caches, decoders.

It must answer where a package is missing or broken, so this room imports nothing but the standard library; what may
crash or hang, such as the driver of an accelerator, runs in a process of its own, with a time limit.
"""

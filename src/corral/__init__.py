"""corral: one program, many settings, every computer you can reach."""

__version__ = "0.1.0"

"""For authors of plug-ins: a profiler that needs no runtime, and the suites to subclass.

``hwnas.testing.conformance`` needs pytest; ``hwnas.testing.null`` and ``processes`` do not.
"""

__all__: list[str] = []

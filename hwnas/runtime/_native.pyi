"""The native part of hwnas.runtime."""



def version() -> str:
    """Return the version that the extension was built from."""

"""Target descriptors that come with hwnas: one TOML file each, to be used or to be copied."""

__all__: list[str] = []

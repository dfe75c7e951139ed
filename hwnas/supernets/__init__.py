"""Supernets: the protocol that makes a network compilable, and the families that come along.

Needs torch: ``pip install 'hwnas[torch]'``.
"""

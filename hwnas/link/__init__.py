"""Linking: blocks become one whole graph, or the segments that several subnets share."""

from hwnas.link.finalise import FinalisedLink, link_finalised
from hwnas.link.merge import merge
from hwnas.link.segments import Linked, link
from hwnas.link.whole import whole

__all__ = ["FinalisedLink", "Linked", "link", "link_finalised", "merge", "whole"]

"""More than one server: replicas and Sentinels, clusters, networks that can be cut, a proxy that loses things."""

from __future__ import annotations

from tests.topology.cluster import Cluster
from tests.topology.namespaces import Namespaces
from tests.topology.nodes import Node
from tests.topology.proxy import Faults, Proxy
from tests.topology.replicas import ReplicaSet

__all__ = ["Cluster", "Faults", "Namespaces", "Node", "Proxy", "ReplicaSet"]

"""A cluster on one machine: its processes, the links between its regions, the endpoint in front."""

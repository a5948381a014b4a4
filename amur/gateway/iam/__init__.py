"""The IAM and STS APIs: Amazon's query protocol in XML, Tigris' JSON flavour of it and REST part.

The way of a request: `params` (what was sent) -> `operations` or `rest` (the tables) -> `authorize`
(one function, before any handler) -> a handler -> `render`. Failures are told by `failures`.
"""

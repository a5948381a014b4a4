"""The policy language: documents are read, checked, compiled and decided upon.

Values in, values out; nothing here reads a store, a clock or a request. The way of a document:
`document.parse` -> `compiling.Compiled` -> `evaluate.decide`; beside it stand `explain`, `lint`,
`schema`, `templates` and the key roles in `roles`. One rule holds throughout: what can't be
decided (a variable without a value, an address that is none) never grants and always refuses.
"""

"""Fixes: what mends a finding, as edits of names, shapes and config keys. No fix touches a weight's bytes.

A fix is a function beside the rule's code that turns a finding into edits (:mod:`.edits`). Edits are applied to a
workspace (:mod:`.workspace`), which is the checkpoint as it would be; :mod:`.mend` judges the result with every rule
before it is kept, and :mod:`.apply` writes it.
"""

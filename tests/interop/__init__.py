"""Real libraries as oracles: what they load, dequantize and answer for a checkpoint folder.

``environments`` builds one virtual environment per library, ``drivers`` run inside them, ``runner`` talks to the
drivers, ``oracles`` gives their answers types, ``compare`` lists differences. Run with ``pytest tests/interop``; a
missing environment is built, never skipped.
"""

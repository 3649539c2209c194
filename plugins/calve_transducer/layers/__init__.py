"""Layers that several networks share: scaled layers, front end, dropout, layer combination.

No whole network and no export form is here; encoders belong to the recipes' plugins.
The model, the runtime and recipe plugins may import it.
"""

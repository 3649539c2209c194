"""The files of a new plugin, as `calve.registry.new_plugin` fills them in."""

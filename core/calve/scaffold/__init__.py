"""The files of a new plugin, as `calve.new_plugin` fills them in."""

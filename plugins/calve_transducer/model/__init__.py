"""The transducer around an encoder: prediction network ("decoder"), joiner, their options.

No encoder is here, and nothing that trains or decodes.
The family, the runtime and recipe plugins may import it.
"""

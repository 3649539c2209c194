"""Decoding methods for transducers; they reach the networks through `calve.protocols.Session`.

No torch, no network and no training code is here, and nothing here knows what runs the networks.
Other packages do not import it: `calve_transducer.plugin` registers it by name.
"""

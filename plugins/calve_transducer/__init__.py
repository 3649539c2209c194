"""The transducer kit on torch: layers, decoder, joiner, losses, training, searches, runtime."""

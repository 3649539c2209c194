"""A sound encoder for the tests of the conformance kit, which break it one way at a time."""

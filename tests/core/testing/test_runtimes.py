"""Each check of the runtime kit fails on a runtime that is broken in just that way."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from calve.api import BundleError, CheckpointError
from calve.testing import RuntimeConformance
from calve.testing.trials import kept_bundle
from calve_torchscript.runtime import StateDictRuntime

pytestmark = pytest.mark.usefixtures("sound_plugin")

Failures = Callable[..., dict[str, str]]
Broken = Callable[[Callable[..., Any]], None]

NAME = "its_name_is_its_own"
SAYS = "a_session_says_what_its_bundle_says"
ARRAYS = "arrays_are_contiguous_float32_with_the_streams_first"
STREAMS = "streams_do_not_see_each_other"
COME = "streams_come_and_go"
INPUTS = "a_step_leaves_its_inputs_alone"
STAY = "answers_stay_what_they_were"
SAME = "it_answers_the_same_every_time"
THREADS = "more_threads_change_nothing"
LACKS = "a_bundle_that_lacks_a_file_is_an_error"
TORCH = "it_runs_where_torch_is_not_installed"

RECIPE = "sound_transducer"


class Conformance(RuntimeConformance):
    runtime, recipe = "state-dict", RECIPE
    needs_torch = True


@pytest.fixture
def broken(sound_plugin: None, monkeypatch: pytest.MonkeyPatch) -> Broken:
    """``broken(open)``: the driver state-dict opens bundles so; it is given the sound function."""
    kept_bundle(RECIPE, "state-dict", "fp32")
    sound = StateDictRuntime.open

    def breaking(function: Callable[..., Any]) -> None:
        def opened(bundle: Any, *, num_threads: int = 1) -> Any:
            return function(sound, bundle, num_threads)

        monkeypatch.setattr(StateDictRuntime, "open", staticmethod(opened))

    return breaking


def with_method(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Makes a way of opening sessions with another method, which is given the sound one first."""

    def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
        def opened(sound: Any, bundle: Any, num_threads: int) -> Any:
            session = copy.copy(sound(bundle, num_threads=num_threads))
            original = getattr(type(session), name)

            def replacement(self: Any, *arguments: Any) -> Any:
                return method(original.__get__(self), self, *arguments)

            session.__class__ = type("Broken", (type(session),), {name: replacement})
            return session

        return opened

    return decorate


def with_attribute(name: str, value: Any) -> Callable[..., Any]:
    def opened(sound: Any, bundle: Any, num_threads: int) -> Any:
        session = sound(bundle, num_threads=num_threads)
        setattr(session, name, value(session) if callable(value) else value)
        return session

    return opened


def without_methods(sound: Any, bundle: Any, num_threads: int) -> Any:
    class Bare:
        pass

    bare = Bare()
    vars(bare).update(vars(sound(bundle)))
    return bare


@with_method("encode_chunk")
def answers_in_float64(encode_chunk, session, features, states):
    encoder_out, after = encode_chunk(features, states)
    return encoder_out.astype(np.float64), after


@with_method("decode_context")
def answers_in_columns(decode_context, session, contexts):
    return np.asfortranarray(decode_context(contexts))


@with_method("join")
def forgets_the_last_stream(join, session, encoder_out, decoder_out):
    return join(encoder_out, decoder_out)[: max(1, len(encoder_out) - 1)]


@with_method("encode_chunk")
def mixes_streams(encode_chunk, session, features, states):
    encoder_out, after = encode_chunk(features, states)
    return encoder_out + encoder_out.mean(0, keepdims=True), after


@with_method("decode_context")
def mixes_contexts(decode_context, session, contexts):
    decoder_out = decode_context(contexts)
    return decoder_out + decoder_out.mean(0, keepdims=True)


@with_method("select_states")
def sorts_streams(select_states, session, states, rows):
    return select_states(states, sorted(rows))


@with_method("join_states")
def turns_streams_around(join_states, session, parts):
    return join_states(parts[::-1])


@with_method("encode_chunk")
def writes_into_its_states(encode_chunk, session, features, states):
    encoder_out, after = encode_chunk(features, states)
    for state in states.values():
        state.fill(0)
    return encoder_out, after


@with_method("join")
def writes_into_its_frames(join, session, encoder_out, decoder_out):
    logits = join(encoder_out, decoder_out)
    encoder_out += decoder_out[:, :1]
    return logits


@with_method("encode_chunk")
def reuses_a_buffer(encode_chunk, session, features, states):
    encoder_out, after = encode_chunk(features, states)
    buffer = vars(session).setdefault("buffers", {}).setdefault(encoder_out.shape, encoder_out)
    buffer[...] = encoder_out
    return buffer, after


@with_method("encode_chunk")
def tires(encode_chunk, session, features, states):
    session.steps = getattr(session, "steps", 0) + (len(features) == 1)
    encoder_out, after = encode_chunk(features, states)
    return encoder_out * np.float32(1 + session.steps // 4), after


_openings: list[object] = []


@with_method("encode_chunk")
def opens_differently(encode_chunk, session, features, states):
    if "number" not in vars(session):
        session.number = len(_openings)
        _openings.append(session)
    encoder_out, after = encode_chunk(features, states)
    return encoder_out + np.float32(session.number), after


def adds_threads(sound: Any, bundle: Any, num_threads: int) -> Any:
    @with_method("encode_chunk")
    def threaded(encode_chunk, session, features, states):
        encoder_out, after = encode_chunk(features, states)
        return encoder_out * np.float32(num_threads), after

    return threaded(sound, bundle, num_threads)


def raises_what_it_gets(sound: Any, bundle: Any, num_threads: int) -> Any:
    if not (bundle.path / "pretrained.pt").exists():
        raise FileNotFoundError("pretrained.pt")
    return sound(bundle, num_threads=num_threads)


def lets_an_error_through(sound: Any, bundle: Any, num_threads: int) -> Any:
    if not (bundle.path / "pretrained.pt").exists():
        raise CheckpointError("there is no such checkpoint file")
    return sound(bundle, num_threads=num_threads)


def leaves_its_user_alone(sound: Any, bundle: Any, num_threads: int) -> Any:
    if not (bundle.path / "pretrained.pt").exists():
        raise BundleError("a file is missing")
    return sound(bundle, num_threads=num_threads)


def opens_anything(sound: Any, bundle: Any, num_threads: int) -> Any:
    return sound(kept_bundle(RECIPE, "state-dict", "fp32"), num_threads=num_threads)


def test_a_sound_runtime_passes_every_check(failures: Failures) -> None:
    assert failures(Conformance) == {}


@pytest.mark.parametrize(
    ("opened", "says", "expected"),
    [
        (without_methods, "lacks methods of a StreamingSession", None),
        (with_attribute("blank_id", 1), "blank_id is 1, and the bundle's 0", {SAYS}),
        (with_attribute("feature_dim", 40), "feature_dim is 40", {SAYS}),
        (with_attribute("context_size", 1), "context_size is 1", {SAYS}),
        (with_attribute("initial_symbol", 5), "neither blank nor nothing", {SAYS}),
        (
            with_attribute("geometry", lambda session: replace(session.geometry, shift=8)),
            "the session's geometry is",
            None,
        ),
        (answers_in_float64, "encode_chunk gives float64", {ARRAYS, INPUTS}),
        (answers_in_columns, "decode_context gives float32, not contiguous", {ARRAYS}),
        (forgets_the_last_stream, "join gives the shape (2,", {ARRAYS}),
        (mixes_streams, "stream 0 among 3", {STREAMS, COME}),
        (mixes_contexts, "the context of stream 0", {STREAMS}),
        (sorts_streams, "streams that select_states chose", {COME}),
        (turns_streams_around, "streams that join_states brought together", {COME}),
        (writes_into_its_states, "what it was given: hidden, processed", None),
        (writes_into_its_frames, "what it was given: encoder_out", {INPUTS}),
        (reuses_a_buffer, "give away a copy", {STAY}),
        (tires, "a bundle that is asked twice", None),
        (opens_differently, "a bundle that is opened twice", {SAME, THREADS}),
        (adds_threads, "with two threads", {THREADS}),
        (raises_what_it_gets, "FileNotFoundError, not a BundleError", {LACKS}),
        (lets_an_error_through, "CheckpointError, not a BundleError", {LACKS}),
        (leaves_its_user_alone, "does not say where, and what to do: a file", {LACKS}),
        (opens_anything, "it opens a bundle without pretrained.pt", {LACKS}),
    ],
)
def test_a_broken_runtime_fails_the_checks_of_what_is_broken(
    broken: Broken,
    failures: Failures,
    opened: Callable[..., Any],
    says: str,
    expected: set[str] | None,
) -> None:
    broken(opened)
    found = failures(Conformance)
    assert any(says in message for message in found.values()), found
    if expected is not None:
        assert set(found) == expected, found


def test_a_runtime_that_imports_torch_without_saying_so_is_found(failures: Failures) -> None:
    class Silent(Conformance):
        needs_torch = False

    assert "must not import torch" in failures(Silent, TORCH)[TORCH]


def test_a_runtime_that_is_not_there_is_found(failures: Failures) -> None:
    class Absent(RuntimeConformance):
        runtime = "no-such-runtime"

    assert "there is no driver 'no-such-runtime'" in failures(Absent, NAME)[NAME]


def test_a_runtime_that_no_format_names_cannot_be_tried(failures: Failures) -> None:
    class Live(RuntimeConformance):
        runtime = "torch"

    assert "no export format names the runtime 'torch'" in failures(Live, STREAMS)[STREAMS]

from __future__ import annotations

from collections.abc import Iterator, Mapping

from calve.api import CommandSpec, EncoderSpec, LazyRef, hookimpl


@hookimpl
def calve_register_encoders() -> Iterator[EncoderSpec]:
    yield EncoderSpec(
        name="acme_encoder",
        config=LazyRef("acme_working.parts:Config"),
        build=LazyRef("acme_working.parts:Encoder"),
        infer_config=LazyRef("acme_working.parts:infer_config"),
        formats=(),
        summary="an encoder that serves as an example",
        tiny={"layers": 1},
    )


@hookimpl
def calve_register_commands() -> list[CommandSpec]:
    return [CommandSpec("hello", LazyRef("acme_working.parts:hello"), "Say hello.")]


@hookimpl
def calve_stage_finished(stage: str, seconds: float, report: Mapping[str, object]) -> None:
    print(f"finished {stage}: {dict(report)}")

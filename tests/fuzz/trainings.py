"""Surfaces of trainings: their configurations, checkpoints and records."""

import io
from typing import Any

import torch
from hypothesis import strategies as st

from agents import checkpoint
from agents.card import Card, load_card
from agents.config import ConfigError, TrainConfig, load_config, parse_config
from agents.run import append_line, read_lines
from tests.fuzz import mutate
from tests.fuzz.commands import TRAININGS_SURFACE
from tests.fuzz.files import on_disk, scratch, texts_in
from tests.fuzz.invent import data_of
from tests.fuzz.surface import Surface
from tests.helpers.agent_config import quick
from vcpu_env.base.files import checksum

CHECKPOINT = checkpoint.CheckpointError
OVERRIDES = ["seed=1", "cloning.epochs=2", "stages=[]", "validation.every=0.5", "hyperparameters.sigma=0.1"]


def configurations() -> st.SearchStrategy[Any]:
    texts = mutate.texts_like(texts_in("agents/configs/*.toml"))
    return st.one_of(texts, st.tuples(texts, mutate.texts_like(OVERRIDES)), data_of(TrainConfig))


def try_configuration(given: Any) -> TrainConfig:
    """A file, a file with a change on the command line, or data."""
    if isinstance(given, dict):
        return parse_config(given)
    text, changes = given if isinstance(given, tuple) else (given, None)
    return load_config(str(on_disk("fuzz.toml", text)), [changes] if changes else [])


def checkpoints() -> st.SearchStrategy[bytes]:
    body = io.BytesIO()
    torch.save({"config": quick().digest, "progress": "{}", "arrays": {"a": torch.zeros(50)}}, body)
    header = f"{checkpoint.MAGIC} {checkpoint.FORMAT} {checksum(body.getvalue())}\n"
    return mutate.bytes_like([header.encode() + body.getvalue()])


def records() -> st.SearchStrategy[bytes]:
    path = scratch() / "lines.jsonl"
    for i in range(3):
        append_line(path, {"generation": i, "fitness": [0.5, -1e300], "best": None})
    return mutate.bytes_like([path.read_bytes()])


def cards() -> st.SearchStrategy[str]:
    return mutate.texts_like(texts_in("agents/models/wide-es.json", "agents/models/joint-ppo.json"))


def try_card(given: str) -> Card:
    """A card beside the policies that it describes."""
    return load_card(on_disk("fuzz.json", given))


SURFACES = [
    TRAININGS_SURFACE,
    Surface("card", cards, try_card, (ConfigError,)),
    Surface("training", configurations, try_configuration, (ConfigError,)),
    Surface("checkpoint", checkpoints, lambda given: checkpoint.read(on_disk("c.pt", given), quick()), (CHECKPOINT,)),
    Surface("record", records, lambda given: read_lines(on_disk("l.jsonl", given)), (ConfigError,)),
]

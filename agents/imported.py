"""``python -m agents.import MODEL.zip --env ID -o FILE.npz``: a policy's file of what Stable-Baselines3 has saved.

Such a zip is mostly pickles, which can run anything. None is opened: its settings are read as the JSON text that they
are beside the pickles, its arrays by torch's loader of weights in a process of its own (`agents.weights_only`), the
statistics of a VecNormalize by a reader that knows numbers and nothing else. Then it is a policy like any other.
"""

import io
import json
import pickle
import re
import subprocess
import sys
import tomllib
import zipfile
import zlib
from pathlib import Path
from typing import Annotated, Any

import gymnasium
import numpy as np
import typer

import agents.weights_only
import vcpu_env  # noqa: F401  (registers the ids)
from baselines.command import run_command, say
from vcpu_env.base.errors import InputError, shown
from vcpu_env.nets.from_sb3 import network_of
from vcpu_env.nets.learned import KINDS, Description, LearnedPolicy
from vcpu_env.nets.weights import Normalisation

MOST_BYTES = 256 << 20
"""Of a file, and of what is in it."""
MEMBERS = ("data", "policy.pth")
"""What is read of a zip."""
USUAL_ACTIVATION = {"stable_baselines3.common.policies": "Tanh", "sb3_contrib.common.maskable.policies": "Tanh"}
"""By the module of the policy's class; all others have ReLU."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


class ImportedError(InputError):
    """A file that is no model, or one that cannot be a policy here."""


def contents(path: Path) -> tuple[dict[str, Any], bytes]:
    """A model's settings, and its weights as torch wrote them.

    Raises:
        ImportedError: it is none.
    """
    settings, weights = None, b""
    try:
        with zipfile.ZipFile(path) as file:
            sizes = {info.filename: info.file_size for info in file.infolist()}
            wrong = next((name for name in MEMBERS if not 0 < sizes.get(name, 0) <= MOST_BYTES), None)
            if wrong is None:
                settings, weights = json.loads(file.read("data")), file.read("policy.pth")
    except OSError as error:
        raise ImportedError(f"{path}: cannot be read ({error.strerror})") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError):  # the last: of a zip with a password
        raise ImportedError(f"{path}: no model (allowed: a zip that Stable-Baselines3 has saved)") from None
    if wrong is not None:
        raise ImportedError(f"{path}: '{wrong}': {sizes.get(wrong, 0)} bytes (allowed: up to {MOST_BYTES})")
    if not isinstance(settings, dict):
        raise ImportedError(f"{path}: 'data': no settings of a model")
    return settings, weights


def arrays_of(path: Path, weights: bytes) -> dict[str, np.ndarray]:
    """The arrays of a policy's state_dict, read by another process.

    Raises:
        ImportedError: that is not what it holds.
    """
    command = [sys.executable, "-I", str(Path(agents.weights_only.__file__))]
    done = subprocess.run(command, input=weights, capture_output=True)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines()
        known = reason[-1] if done.returncode == 3 and reason else "it cannot be read"
        raise ImportedError(f"{path}: 'policy.pth': {known} (allowed: weights)")
    with np.load(io.BytesIO(done.stdout)) as arrays:
        return dict(arrays)


def setting(given: Any, name: str) -> Any:
    """An entry of settings; an object that was pickled has its attributes beside it, as text."""
    return given.get(name) if isinstance(given, dict) else None


def activation_in(path: Path, settings: dict[str, Any]) -> str:
    """The name of the activation.

    Raises:
        ImportedError: the policy is none that can be expressed.
    """
    arguments = setting(settings, "policy_kwargs") or {}
    for name in ("features_extractor_class", "features_extractor_kwargs"):
        if setting(arguments, name):
            raise ImportedError(f"{path}: policy_kwargs: {name} is given (allowed: an MlpPolicy's own)")
    if setting(settings, "use_sde"):
        raise ImportedError(f"{path}: use_sde: value True (allowed: False)")
    named = re.search(r"(\w+)'?>?$", str(setting(arguments, "activation_fn") or ""))
    if named:
        return named[1]
    return USUAL_ACTIVATION.get(str(setting(setting(settings, "policy_class"), "__module__")), "ReLU")


class Attributes:
    """In place of every class of a pickle: what it is made of, and nothing that it does."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


class NumbersOnly(pickle.Unpickler):
    """Reads arrays and attributes; a class that is not known to be harmless is refused, not looked up."""

    ARRAYS = ("_reconstruct", "scalar", "ndarray", "dtype", "_frombuffer")
    STAND_IN = re.compile(r"(stable_baselines3|gymnasium\.spaces|numpy\.random)(\.|$)")

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in self.ARRAYS:
            return super().find_class(module, name)
        if self.STAND_IN.match(module):
            return Attributes
        raise ImportedError(f"it holds code: {module}.{name}")


def normalisation_in(path: Path) -> Normalisation | None:
    """The statistics that a VecNormalize has saved; None: it leaves observations as they are.

    Raises:
        ImportedError: it holds something else.
    """
    try:
        with path.open("rb") as file:
            saved = NumbersOnly(io.BytesIO(file.read(MOST_BYTES))).load()
        if not saved.norm_obs:
            return None
        mean, var = (np.asarray(getattr(saved.obs_rms, name), np.float64).ravel() for name in ("mean", "var"))
        inv_std = 1.0 / np.sqrt(var + float(saved.epsilon))
        return Normalisation(mean.astype(np.float32), inv_std.astype(np.float32), float(saved.clip_obs))
    except OSError as error:
        raise ImportedError(f"{path}: cannot be read ({error.strerror})") from None
    except ImportedError as error:
        raise ImportedError(f"{path}: {error} (allowed: what VecNormalize.save writes)") from None
    except Exception:  # a damaged pickle raises anything
        raise ImportedError(f"{path}: no statistics (allowed: what VecNormalize.save writes)") from None


def environment_arguments(given: list[str]) -> dict[str, Any]:
    """``NAME=VALUE`` as arguments of an environment; values as in TOML, text also without quotes.

    Raises:
        ImportedError: one is no such pair.
    """
    arguments: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise ImportedError(f"--set: value {shown(text)} (allowed: NAME=VALUE)")
        try:
            arguments[name] = tomllib.loads(f"value = {value}")["value"]
        except ValueError:
            arguments[name] = value
    return arguments


def imported(
    path: Path,
    env_id: str,
    arguments: dict[str, Any],
    statistics: Path | None = None,
    frame_stack: int = 1,
    draws: bool = False,
    name: str | None = None,
) -> LearnedPolicy:
    """The policy in a saved model.

    Args:
        path: the zip.
        env_id: for which environment it was trained.
        arguments: of that environment; they say what its numbers mean. With ``rule`` the rule that it was trained with.
        statistics: what a VecNormalize has saved.
        frame_stack: observations that it sees at once.
        draws: it draws its actions, as in training; else it takes the likeliest.
        name: in tables; the file's, unless given.

    Raises:
        ValueError: it is no model, or none for this environment.
    """
    if env_id not in KINDS:
        raise ImportedError(f"--env: value {shown(env_id)} (allowed: {', '.join(KINDS)})")
    settings, weights = contents(path)
    module = str(setting(setting(settings, "policy_class"), "__module__"))
    environment: Any = gymnasium.make(env_id, **arguments).unwrapped
    normalisation = normalisation_in(statistics) if statistics else None
    about = Description(
        name=name or path.stem,
        summary=f"imported, {module.split('.')[-2] if '.' in module else module}",
        environment=env_id,
        rule=str(arguments.get("rule", environment.usual_rule)),
        config=environment.config,
        frame_stack=frame_stack,
        deterministic=not draws,
        masked="maskable" in module,
        kernels=environment.metadata["kernels"],
    )
    space = environment.action_space
    try:
        return LearnedPolicy(
            about, network_of(arrays_of(path, weights), activation_in(path, settings), space, normalisation)
        )
    except ImportedError:
        raise
    except ValueError as error:
        features = environment.observation_space.shape[0] * frame_stack
        raise ImportedError(f"{path}: {error}; {env_id} has {features} features and {space} with these --set") from None


@app.command()
def command(
    model: Annotated[Path, typer.Argument(metavar="MODEL.zip", help="What `model.save` wrote.")],
    env: Annotated[str, typer.Option(metavar="ID", help="The environment that it was trained in.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE.npz", help="The policy's file.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="An argument of that environment, as rule=vee21."),
    ] = None,
    vec_normalize: Annotated[
        Path | None, typer.Option(metavar="FILE.pkl", help="What `VecNormalize.save` wrote.")
    ] = None,
    frame_stack: Annotated[int, typer.Option(min=1, max=64, help="Observations that it sees at once.")] = 1,
    draws: Annotated[bool, typer.Option("--draws", help="It draws its actions; else it takes the likeliest.")] = False,
    name: Annotated[str | None, typer.Option(help="In tables.  [default: the file's]")] = None,
) -> None:
    """Make a policy's file of a model that Stable-Baselines3 has saved, without running anything in it."""
    if output.suffix != ".npz":
        raise typer.BadParameter(f"value '{output}' (allowed: FILE.npz)", param_hint="--output")
    policy = imported(model, env, environment_arguments(set_ or []), vec_normalize, frame_stack, draws, name)
    output.parent.mkdir(parents=True, exist_ok=True)
    policy.save(output)
    sizes = "x".join(str(layer.bias.size) for layer in policy.weights.actor[:-1]) or "linear"
    print(f"{output}: {policy.weights.head}, {sizes}, for {env} over {policy.about.rule}")
    say(f"python -m baselines.score {output} scores it, python -m baselines.evaluate --policy {output} compares it")


def main() -> None:
    """Run the command."""
    run_command(app, (ValueError,))


if __name__ == "__main__":
    main()

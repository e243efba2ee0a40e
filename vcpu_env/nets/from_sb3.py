"""Takes a trained policy out of a Stable-Baselines3 or sb3-contrib model. Needs neither of them itself, nor torch."""

from typing import Any

import numpy as np

from vcpu_env.nets.weights import Layer, Normalisation, PolicyWeights, refuse

VALUED = ("q_net.", "quantile_net.")
"""What the parameters of networks that value actions begin with."""
EXPRESSIBLE = "an MlpPolicy of an actor-critic method, SAC, TQC, DQN or QR-DQN"


def from_sb3(model: Any) -> PolicyWeights:
    """The policy of a Stable-Baselines3 or sb3-contrib model with an MlpPolicy.

    Actor-critic policies (PPO, A2C, MaskablePPO, TRPO) come with their critic; of SAC and TQC it is the actor, whose
    actions lie in [-1, 1]; of DQN and QR-DQN the values of the actions are taken for logits, so that the likeliest
    action is the greedy one. Statistics of a VecNormalize around the model's environment become `normalisation`.

    Raises:
        ValueError: the model has parts that `PolicyWeights` does not express.
    """
    policy = model.policy
    features = getattr(policy, "features_extractor_class", None)
    check_model("observation_space", type(model.observation_space).__name__, "Box")
    if len(model.observation_space.shape) != 1:
        refuse("model.observation_space", f"of shape {model.observation_space.shape}", "one dimension")
    check_model("features_extractor_class", getattr(features, "__name__", None), "FlattenExtractor")
    check_model("activation_fn", policy.activation_fn.__name__, "Tanh", "ReLU")
    if getattr(model, "use_sde", False):
        refuse("model.use_sde", True, "False")
    state = {name: tensor.detach().cpu().numpy() for name, tensor in policy.state_dict().items()}
    return network_of(state, policy.activation_fn.__name__, model.action_space, sb3_normalisation(model))


def network_of(
    state: dict[str, np.ndarray], activation: str, space: Any, normalisation: Normalisation | None = None
) -> PolicyWeights:
    """The network that a policy's state_dict holds.

    Args:
        state: arrays by name; emptied.
        activation: Tanh or ReLU.
        space: of actions.
        normalisation: of observations.

    Raises:
        ValueError: there are parts that `PolicyWeights` does not express.
    """
    check_model("activation_fn", activation, "Tanh", "ReLU")
    if "actor.mu.weight" in state:
        parts = squashed_actor(state)
    elif any(name.startswith(VALUED) for name in state):
        parts = action_values(state, space)
    else:
        parts = actor_critic(state, space)
    if state:
        refuse("model.policy", f"parameter {next(iter(state))!r}", EXPRESSIBLE)
    return PolicyWeights(activation=activation.lower(), normalisation=normalisation, **parts)


def check_model(name: str, value: str | None, *allowed: str) -> None:
    """One property of a model that must be as said."""
    if value not in allowed:
        refuse(f"model.{name}", value, ", ".join(allowed))


def take_layer(state: dict[str, np.ndarray], name: str) -> Layer:
    """Take a torch Linear out of a state_dict."""
    if f"{name}.weight" not in state:
        refuse("model.policy", f"no parameter {name}.weight", EXPRESSIBLE)
    return Layer(np.ascontiguousarray(state.pop(f"{name}.weight").T), state.pop(f"{name}.bias"))


def take_hidden(state: dict[str, np.ndarray], name: str) -> tuple[Layer, ...]:
    """Take a torch Sequential of Linear and activation in turn."""
    layers: list[Layer] = []
    while f"{name}.{2 * len(layers)}.weight" in state:
        layers.append(take_layer(state, f"{name}.{2 * len(layers)}"))
    return tuple(layers)


def actor_critic(state: dict[str, np.ndarray], space: Any) -> dict[str, Any]:
    """Take the parts of an ActorCriticPolicy out of its state_dict."""
    check_model("action_space", type(space).__name__, "Discrete", "MultiDiscrete", "Box")
    parts: dict[str, Any] = {
        "actor": (*take_hidden(state, "mlp_extractor.policy_net"), take_layer(state, "action_net")),
        "critic": (*take_hidden(state, "mlp_extractor.value_net"), take_layer(state, "value_net")),
    }
    if type(space).__name__ == "Box":
        return parts | {"head": "gaussian", "log_std": state.pop("log_std")}
    return parts | {"head": "categorical", "sizes": tuple(getattr(space, "nvec", [getattr(space, "n", 0)]))}


def action_values(state: dict[str, np.ndarray], space: Any) -> dict[str, Any]:
    """Take the network of DQN or QR-DQN out of its state_dict. Of quantiles only the mean decides."""
    check_model("action_space", type(space).__name__, "Discrete")
    for name in [name for name in state if "_target." in name]:
        del state[name]
    net = next(iter(state)).rpartition(".")[0].rpartition(".")[0]
    *hidden, last = take_hidden(state, net)
    weight = last.weight.reshape(len(last.weight), -1, int(space.n)).mean(axis=1)
    return {
        "head": "categorical",
        "sizes": (int(space.n),),
        "actor": (*hidden, Layer(weight, last.bias.reshape(-1, int(space.n)).mean(axis=0))),
    }


def squashed_actor(state: dict[str, np.ndarray]) -> dict[str, Any]:
    """Take the actor of SAC or TQC out of its state_dict, and drop the critics, which judge actions, not states."""
    hidden = take_hidden(state, "actor.latent_pi")
    mean, log_std = take_layer(state, "actor.mu"), take_layer(state, "actor.log_std")
    output = Layer(np.hstack([mean.weight, log_std.weight]), np.concatenate([mean.bias, log_std.bias]))
    for name in [name for name in state if name.startswith(("critic.", "critic_target."))]:
        del state[name]
    return {"head": "squashed_gaussian", "actor": (*hidden, output)}


def sb3_normalisation(model: Any) -> Normalisation | None:
    """What a VecNormalize around the model's environment does to observations."""
    env = model.get_vec_normalize_env()
    if env is None or not env.norm_obs:
        return None
    check_model("obs_rms", type(env.obs_rms).__name__, "RunningMeanStd")
    inv_std = 1.0 / np.sqrt(env.obs_rms.var + env.epsilon)
    return Normalisation(env.obs_rms.mean.ravel().astype(np.float32), inv_std.ravel().astype(np.float32), env.clip_obs)

"""Pictures where others look at them: Gymnasium's videos and TensorBoard."""

import gymnasium
import numpy as np
import pytest

from tests.helpers.small_env import CANDIDATE_CHOICE, SMALL

pytest.importorskip("PIL")
ARGUMENTS = {"scenario": SMALL, "warm_starts": 1, "horizon_ns": 300_000, "render_mode": "rgb_array"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_video_has_a_frame_a_step(tmp_path):
    pytest.importorskip("moviepy")
    from moviepy import VideoFileClip

    env = gymnasium.wrappers.RecordVideo(gymnasium.make(CANDIDATE_CHOICE, **ARGUMENTS), str(tmp_path))
    env.reset(seed=1)
    frames, over, shape = 1, False, env.render().shape
    while not over:
        over, frames = env.step(1)[3], frames + 1
    env.close()
    (video,) = tmp_path.glob("*.mp4")
    with VideoFileClip(str(video)) as clip:
        assert clip.fps == env.metadata["render_fps"] and tuple(clip.size) == (shape[1], shape[0])
        assert abs(clip.n_frames - frames) <= 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_image_in_tensorboard(tmp_path):
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    env = gymnasium.make(CANDIDATE_CHOICE, **ARGUMENTS)
    env.reset(seed=1)
    picture = env.render()
    with tensorboard.SummaryWriter(str(tmp_path)) as writer:
        writer.add_image("host", picture, dataformats="HWC")
    events = reader.EventAccumulator(str(tmp_path))
    events.Reload()
    (image,) = events.Images("host")
    assert (image.height, image.width) == picture.shape[:2] and np.ptp(picture) > 0

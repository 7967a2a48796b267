"""What a network is shown: pictures, gray ones, differences of frames, or optical flow.

  pip install -r requirements-flow.txt
  python launch.py --experiment=experiments/inputs.py --workdir=runs/experiments/inputs
  python -m vidjax collect runs/experiments/inputs

Early fusion on the embedded data set, 10 frames and one setting for all; its filters of the first layer have as many
channels as the input. 15 runs of one and a half minutes on 2 cores, and the flow of all clips once, a minute.
"""

from vidjax.experiment.plan import INTERVAL_COLUMNS, Experiment, Setting

_FLOW = {"data.flow": "dis_fast", "data.inputs": "flow"}


def get_experiment():
    return Experiment(
        name="inputs",
        title="Inputs of early fusion on motion: 8 classes, chance 12.5%",
        config="configs/early_fusion.py",
        axes={
            "input": {
                "one frame": Setting("configs/single_frame.py"),
                "color": Setting(),
                "gray": Setting(overrides={"data.inputs": "gray"}),
                "difference to the frame before": Setting(overrides={"data.inputs": "difference"}),
                "optical flow": Setting(overrides=_FLOW),
            }
        },
        seeds=range(3),
        columns=(*INTERVAL_COLUMNS, "seconds"),
    )

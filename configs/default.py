"""Every key of a config, declared and documented once; the systems in this folder start from here.

Not run by itself. One grammar for arguments everywhere: `--config=configs/FILE.py:word,key=value,...`,
where the bare word is the data preset:

  motion        (none given) the embedded data set: clips whose class is motion alone; trains in two minutes.
  motion_hard   two motions far apart in time: the class is which two in which order.
  ucf101        UCF101 as the paper treats it; wants a GPU.
  ucf101_small  UCF101 at a size that 2 CPU cores can bear.
  folder        one's own videos, in one folder per class (--config.data.root=FOLDER), for 30 epochs.
  kinetics      Kinetics at 224 pixels, as SlowFast's recipe treats it; wants several GPUs.

Any key can be changed on the command line: --config.optimizer.learning_rate=3e-4. A key set to None was
not given: the default of the chosen model, optimizer, schedule or source holds; one that it does not
take is an error.
"""

from types import SimpleNamespace

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

PRESETS = ("motion", "motion_hard", "ucf101", "ucf101_small", "folder", "kinetics")


def get_config(preset: str = "motion") -> ConfigDict:
    """Returns the config of early fusion on a data preset, which other systems change."""
    config = data_config(preset)
    fusion_recipe(config, preset or "motion")
    spaced_frames(config, preset or "motion")
    return config


def data_config(preset: str = "motion") -> ConfigDict:
    """Returns every key, with a data preset and nothing of how a network is trained on it; recipes add that."""
    config = ConfigDict()
    config.name = "default"  # names the default workdir: runs/<name>
    config.seed = 0  # of parameters, order of examples, clips and augmentation
    config.dtype = "float32"  # of the computation: float32 | bfloat16; parameters stay float32
    config.parallel = "auto"  # auto | jit (one device) | pmap | sharded (several); all give the same numbers
    config.native_convolutions = False  # True: XLA's own convolutions and pooling on CPUs too, many times slower in 3D
    config.keep_memory = True  # on CPUs with glibc: what a step frees stays for the next one, instead of page faults
    config.model = _model()
    config.data = _data()
    config.preprocessing = _preprocessing()
    config.loss = _loss()
    config.optimizer = _optimizer()
    config.schedule = _schedule()
    config.train = _train()
    config.batch_norm = _batch_norm()
    config.evaluate = _evaluate()
    config.checkpoint = _checkpoint()
    _DATA[preset or "motion"](config)
    return config


def name_of(system: str, chosen: SimpleNamespace) -> str:
    """Returns the name of a run, e.g. "late_fusion-ucf101-fuse_at=scores".

    Args:
      system: the name of the config.
      chosen: its argument (`parse_argument`); what is the default in it is left out.
    """
    preset = [] if chosen.preset == "motion" else [chosen.preset]
    return "-".join([system, *preset, *(f"{key}={str(getattr(chosen, key)).lower()}" for key in chosen.changed)])


def _model() -> ConfigDict:
    model = ConfigDict()
    model.name = "early_fusion"  # single_frame | early_fusion | late_fusion | slow_fusion | multires | c3d | ... README
    model.factory = placeholder(str)  # 'my_package.my_module:build' instead of a name: a model of one's own
    model.normalization = placeholder(str)  # lrn | batch | none
    model.width_multiplier = placeholder(float)  # scales filters and hidden units; 1 is the paper's
    model.dropout = placeholder(float)  # probability of dropping a hidden unit of the classifier
    model.streams = placeholder(str)  # fusions: full | both | fovea | context, streams of half the size; multires
    model.base = placeholder(str)  # multires: single_frame | early_fusion | late_fusion | slow_fusion
    model.fuse_at = placeholder(str)  # late_fusion: features | scores
    model.fusion = placeholder(str)  # late_fusion: concatenate | average | max
    model.share_towers = placeholder(bool)  # late_fusion: the towers have the same weights
    model.share_columns = placeholder(bool)  # slow_fusion: responses at different times have the same weights
    model.in_channels = placeholder(int)  # i3d: 3 for RGB, 2 for optical flow
    model.lateral = placeholder(str)  # slowfast: none | time_strided_conv | time_strided_sample | and
    # time_to_channel_sum | time_to_channel_concat (the ways of section 3.3)
    model.lateral_kernel = placeholder(int)  # slowfast: frames that this convolution spans
    model.alpha = placeholder(int)  # slowfast: frames of the fast pathway for each of the slow one
    model.beta_inverse = placeholder(int)  # slowfast: channels of the slow pathway for each of the fast one
    model.width = placeholder(int)  # slowfast and its kin: channels of the (slow) stem; capsnet: of the convolution
    model.channels = placeholder(int)  # capsnet and its baseline: 1 for grey pictures, 3 for colour
    model.decoder = placeholder(bool)  # capsnet: whether each class capsule also draws a picture
    model.types = placeholder(int)  # capsnet, capsule_video: capsules at each position
    model.primary_dimension = placeholder(int)  # capsnet: of the poses of the primary capsules
    model.iterations = placeholder(int)  # capsnet, capsule_video: of the routing
    model.inverse_temperature = placeholder(float)  # capsule_video: lambda of EM routing; iteration t: times 1 - 0.95^t
    model.relative_cost = placeholder(bool)  # capsule_video: of EM routing, to an equal share of the inputs
    model.least_variance = placeholder(float)  # capsule_video: added to variances in EM routing
    model.conv_iterations = placeholder(int)  # capsule_video: of the routing to convolutional capsules
    model.pool = placeholder(bool)  # capsule_video: average the capsules of a type in a window before they vote
    model.vote_megabytes = placeholder(float)  # capsnet, capsule_video: of routing at once, then anew for gradients
    model.detach = placeholder(bool)  # capsnet: no gradient through couplings, which is faster; the paper's has it
    return model


def _data() -> ConfigDict:
    data = ConfigDict()
    data.name = "motion"  # motion | ucf101 | folder | csv | kinetics | hmdb51 | mnist | packed
    data.factory = placeholder(str)  # 'my_package.my_module:load' instead of a name: a source of one's own

    # Options of the source; which it takes, its docstring says.
    data.root = placeholder(str)  # folder of videos, of mnist's idx files or of packed shards; csv: None: of the CSV
    data.annotations = placeholder(str)  # csv: the file with path,label,split; kinetics: folder of train.csv, val.csv
    data.splits = placeholder(str)  # ucf101, hmdb51: folder of the official lists (classInd.txt and so on)
    data.split = placeholder(int)  # ucf101, hmdb51: 1 | 2 | 3
    data.allow_missing = placeholder(bool)  # of listed clips: work on those that are there, and say how many are not
    data.validation = placeholder(float)  # share of the training part that is held out (by group)
    data.test = placeholder(float)  # folder, mnist: share that is tested where the files do not say what is
    data.level = placeholder(str)  # motion: easy | hard (with the preset motion_hard, whose clips span its videos)
    data.seed = placeholder(int)  # motion: of the generator; folder, mnist: of the split
    data.train_clips = placeholder(int)  # motion: how many clips are made for training, a multiple of 8
    data.validation_clips = placeholder(int)  # motion: likewise, for validation
    data.test_clips = placeholder(int)  # motion: likewise, for the test
    data.mirror = placeholder(str)  # folder, csv: invariant | forbidden, what a mirror image does to the classes

    data.inputs = placeholder(str)  # 'rgb=flow': the model's rgb is read from the stream flow; None: its own names

    # What is cut from a video.
    data.frames = 10  # T, frames of a clip
    data.sampling = placeholder(str)  # dense (None: at a stride) | segments (one frame of each of T equal parts)
    data.stride = placeholder(int)  # frames from one frame of the clip to the next; None, as 1: every frame
    data.fps = placeholder(float)  # frames per second of the clip, instead of a stride
    data.position = "random"  # random (uniform in testing) | first | middle | last
    data.frame_number = placeholder(int)  # the clip starts at this frame, from 0, in training and testing
    data.resize = placeholder(str)  # short_side (None) | squash | letterbox (padded with preprocessing.mean)
    data.short_side = placeholder(int)  # pixels; None: as the file has it
    data.short_side_max = placeholder(int)  # pixels; in training the short side is drawn from short_side to this
    data.size = placeholder(int)  # pixels: side of the square frame, for squash and letterbox
    data.crop = 56  # pixels: side of the one square that the host cuts
    data.crop_position = "centre"  # centre | random, of that square in training

    # How it is read.
    data.check = placeholder(bool)  # inspect each file once, before its first use (None: yes)
    data.max_bad_fraction = placeholder(float)  # training videos that may be unreadable, as a share; None: 0.01;
    # one always may, unless this is 0
    data.cache = "memory"  # none | memory | disk: keep decoded videos; on disk for later runs, too
    data.cache_gigabytes = 4.0  # at most; what does not fit is decoded at every use
    data.threads = 2  # reading threads
    data.workers = 0  # reading processes; threads are faster on small machines
    return data


def _preprocessing() -> ConfigDict:
    preprocessing = ConfigDict()
    preprocessing.crop = placeholder(int)  # pixels: side of what the model sees; random in training, else centre
    preprocessing.flip = False  # mirror half of the training clips; labels follow the source's rule
    preprocessing.brightness = 0.0  # strength s: factor from U[1-s, 1+s] per clip; 0 is off
    preprocessing.contrast = 0.0  # likewise
    preprocessing.saturation = 0.0  # likewise
    preprocessing.rotation = placeholder(float)  # degrees r: angle from U[-r, r] per clip; small if directions matter
    preprocessing.zoom = placeholder(float)  # z: enlarged by a factor from U[1-z, 1+z] per clip
    preprocessing.shift = placeholder(float)  # s: moved by U[-s, s] of the height and of the width, per clip
    preprocessing.erasing = placeholder(float)  # probability of erasing one rectangle, the same in all frames
    preprocessing.erasing_area_min = placeholder(float)  # its smallest share of the frame; None: 0.02
    preprocessing.erasing_area_max = placeholder(float)  # its largest; None: 0.4
    preprocessing.erasing_aspect_min = placeholder(float)  # a: its height / width is from [a, 1/a]; None: 0.3
    preprocessing.mixup = placeholder(float)  # alpha of Beta(alpha, alpha): share of the clip, rest its neighbour's
    preprocessing.cutmix = placeholder(float)  # alpha, likewise: a rectangle shows the neighbour; with mixup: either
    preprocessing.mean = 117.0  # subtracted from pixel values 0..255 (Karpathy et al. 2014, section 4.1)
    preprocessing.std = 58.0  # divides them afterwards
    return preprocessing


def _loss() -> ConfigDict:
    loss = ConfigDict()
    loss.name = "cross_entropy"  # cross_entropy | margin (capsule lengths) | spread (capsule activations)
    loss.label_smoothing = placeholder(float)  # cross_entropy: share of the target that is spread over all classes
    loss.average = placeholder(str)  # cross_entropy: over positions in time and space: loss (None) | logits
    loss.reconstruction = placeholder(float)  # margin: weight of the squared error of the label's reconstruction
    loss.margin_start = placeholder(float)  # spread: by how much the label's activation is to exceed others, at first
    loss.margin_end = placeholder(float)  # spread: in the end
    loss.margin_steps = placeholder(int)  # spread: in how many steps it grows
    loss.margin_epochs = placeholder(float)  # spread: the same in epochs
    loss.margin_fraction = placeholder(float)  # spread: the same as a fraction of the run
    return loss


def _optimizer() -> ConfigDict:
    optimizer = ConfigDict()
    optimizer.name = "adamw"  # sgd | momentum | nesterov | rmsprop | adagrad | ... (README)
    optimizer.learning_rate = 1e-3  # the schedule's peak; adadelta wants about 1, muon 0.02, adafactor 0.01, lion 1e-4
    optimizer.scale_with_batch = placeholder(str)  # linear | sqrt: rate * (batch / base), or its square root
    optimizer.base_batch_size = placeholder(int)  # of that rule, in clips; None: 256
    optimizer.clip_norm = placeholder(float)  # largest global norm of the gradient
    optimizer.multipliers = placeholder(str)  # 'PATTERN=FACTOR,...' of parameter paths: 'features/.*=0.1'
    optimizer.freeze = placeholder(str)  # what does not move, e.g. 'features/conv1,features/conv2'
    optimizer.l2 = placeholder(float)  # coupled decay, added to the gradient: sgd to adagrad, adam, nadam, ...
    optimizer.weight_decay = placeholder(float)  # decoupled decay: sgd, momentum, nesterov, adamw, lion, ...
    optimizer.decay_all = placeholder(bool)  # decay biases and normalisations too

    # Options of the optimizer, which says its defaults and where they differ from those of other libraries.
    optimizer.momentum = placeholder(float)  # momentum, nesterov, rmsprop, muon, adafactor
    optimizer.nesterov = placeholder(bool)  # muon: look ahead
    optimizer.b1 = placeholder(float)  # adam, adamw, nadam, nadamw, adamax, lamb, lion; muon: of its Adam
    optimizer.b2 = placeholder(float)  # likewise
    optimizer.eps = placeholder(float)  # rmsprop, adagrad, adadelta, adam and its kin, lamb
    optimizer.decay = placeholder(float)  # rmsprop: of the mean square
    optimizer.centered = placeholder(bool)  # rmsprop: the variance in the place of the mean square
    optimizer.initial_accumulator = placeholder(float)  # adagrad: sum of squares at the start
    optimizer.rho = placeholder(float)  # adadelta: decay of both averages
    optimizer.newton_schulz_steps = placeholder(int)  # muon
    optimizer.consistent_rms = placeholder(float)  # muon: size of a step, with which AdamW's rates fit (0.2)
    optimizer.adam_ratio = placeholder(float)  # muon: rate of biases and normalisations over that of kernels
    optimizer.decay_rate = placeholder(float)  # adafactor: exponent of the second moment's decay
    optimizer.clipping_threshold = placeholder(float)  # adafactor: largest root mean square of an update
    optimizer.parameter_scale = placeholder(bool)  # adafactor: rates relative to the size of the parameters
    optimizer.min_size_to_factor = placeholder(int)  # adafactor: axes that are shorter are not factored
    return optimizer


def _schedule() -> ConfigDict:
    schedule = ConfigDict()
    schedule.name = "cosine"  # constant | step | exponential | polynomial | cosine | half_cosine | one_cycle | plateau
    schedule.warmup_steps = placeholder(int)  # linear warm-up: give one of the three; not for one_cycle
    schedule.warmup_epochs = placeholder(float)  # likewise
    schedule.warmup_fraction = placeholder(float)  # of the run
    schedule.warmup_from = placeholder(float)  # rate at step 0
    schedule.final_fraction = placeholder(float)  # of the peak, at the end: polynomial and both cosines; plateau: least
    schedule.boundaries = placeholder(tuple)  # step: fractions of the run at which the rate falls, e.g. '(0.5,0.75)'
    schedule.decay_every_steps = placeholder(int)  # step, exponential: length of one decay; give one of the three
    schedule.decay_every_epochs = placeholder(float)  # likewise
    schedule.decay_every_fraction = placeholder(float)  # of the run
    schedule.decay_rate = placeholder(float)  # step, exponential: factor of one decay
    schedule.power = placeholder(float)  # polynomial: exponent
    schedule.pct_start = placeholder(float)  # one_cycle: share of the run until the peak
    schedule.div_factor = placeholder(float)  # one_cycle: peak over the rate at step 0
    schedule.final_div_factor = placeholder(float)  # one_cycle: rate at step 0 over that at the end
    schedule.factor = placeholder(float)  # plateau: of the rate, when the validation loss no longer falls
    schedule.patience = placeholder(int)  # plateau: validations in a row without improvement before that
    schedule.cooldown = placeholder(int)  # plateau: validations after it that do not count
    schedule.threshold = placeholder(float)  # plateau: relative fall that is an improvement
    return schedule


def _train() -> ConfigDict:
    train = ConfigDict()
    train.batch_size = 32  # clips per step, over all devices and processes
    train.steps = placeholder(int)  # length of the run: give steps or epochs
    train.epochs = placeholder(float)  # likewise; an epoch is every training video once
    train.log_every = 50  # steps
    train.validate_every = 200  # steps; 0: only at the end
    train.validate_every_fraction = placeholder(float)  # of the run, in place of the steps, e.g. 0.1: ten times
    train.accumulate = placeholder(int)  # parts of a batch, one after the other, to save memory; BatchNorm sees parts
    train.ema = placeholder(float)  # decay per step of averaged weights, e.g. 0.999; None: none are kept
    train.monitor = placeholder(str)  # of validation, chooses the best: video_top1 (None) | clip_top1 | loss
    train.stop_after = placeholder(int)  # ends training after so many validations that do not beat the best
    return train


def _batch_norm() -> ConfigDict:
    batch_norm = ConfigDict()
    batch_norm.group_size = placeholder(int)  # 3D networks: examples that are normalised together; None: all
    batch_norm.precise_batches = placeholder(int)  # statistics anew over so many batches before an evaluation
    return batch_norm


def _evaluate() -> ConfigDict:
    evaluate = ConfigDict()
    evaluate.clips = 3  # test clips per video, evenly spaced in time
    evaluate.crops = "centre"  # centre | three (along the long side) | ten (corners and centre, each also mirrored)
    evaluate.crop = placeholder(int)  # pixels: side of a view; None: preprocessing.crop
    evaluate.flip = False  # each view mirrored, too
    evaluate.average = "probabilities"  # over positions and views: probabilities | logits | lengths (capsules)
    evaluate.batch_size = 32  # views per step, over all devices and processes
    evaluate.validation_clips = 1  # clips per video in validation
    evaluate.weights = placeholder(str)  # last | ema | best (by validation); None: ema if train.ema, else last
    evaluate.samples = 16  # test clips shown in the report
    return evaluate


def _checkpoint() -> ConfigDict:
    checkpoint = ConfigDict()
    checkpoint.every = 100  # steps; one more at the end
    checkpoint.keep = 2  # newest that stay on disk, beside the best by validation
    return checkpoint


# ---------------------------------------------------------------------------- data presets: what is read, and how


def _motion(config: ConfigDict) -> None:
    config.preprocessing.crop = 48


def _motion_hard(config: ConfigDict) -> None:
    _motion(config)
    config.data.level = "hard"


def _ucf101(config: ConfigDict) -> None:
    """200 -> 170 pixels, flips (Karpathy et al. 2014, section 4.1)."""
    config.data.name = "ucf101"
    config.data.short_side = 200
    config.data.crop = 200
    config.data.cache = "none"
    config.data.threads = 8
    config.preprocessing.crop = 170
    config.preprocessing.flip = True
    config.preprocessing.std = 1.0


def _small_video(config: ConfigDict) -> None:
    """64 -> 56 pixels: real clips on 2 cores."""
    config.data.short_side = 64
    config.data.crop = 64
    config.preprocessing.crop = 56
    config.preprocessing.brightness = config.preprocessing.contrast = config.preprocessing.saturation = 0.3


def _ucf101_small(config: ConfigDict) -> None:
    _small_video(config)
    config.data.name = "ucf101"
    config.preprocessing.flip = True


def _folder(config: ConfigDict) -> None:
    _small_video(config)
    config.data.name = "folder"


def _kinetics(config: ConfigDict) -> None:
    """256 -> 224 pixels."""
    config.data.name = "kinetics"
    config.data.validation = 0.02
    config.data.short_side = 256
    config.data.crop = 256
    config.data.crop_position = "random"
    config.data.cache = "none"
    config.data.threads = 16
    config.preprocessing.crop = 224
    config.preprocessing.flip = True
    config.preprocessing.mean = 114.75  # 0.45
    config.preprocessing.std = 57.375  # 0.225


def _mnist(config: ConfigDict) -> None:
    """28 x 28 pixels in 0..1, shifts of up to 2 of them: for networks on digits, not for videos."""
    config.data.name = "mnist"
    config.data.frames = 1
    config.data.short_side = 28
    config.data.crop = 28
    config.preprocessing.mean = 0.0
    config.preprocessing.std = 255.0
    config.preprocessing.shift = 2 / 28


_DATA = {
    "motion": _motion,
    "motion_hard": _motion_hard,
    "ucf101": _ucf101,
    "ucf101_small": _ucf101_small,
    "folder": _folder,
    "kinetics": _kinetics,
    "mnist": _mnist,
}
MOTION = ("motion", "motion_hard")
LARGE = ("ucf101", "kinetics")  # data sets at the size of the papers

# -------------------------------------------------------------- recipes: how a kind of network is trained on them


def fusion_recipe(config: ConfigDict, preset: str) -> None:
    """The fusion networks: batch normalisation, AdamW and a quarter of the width on small machines.

    On `ucf101` the paper's: response normalisation and SGD with momentum (Karpathy et al. 2014, section 4.1). On
    `kinetics` the network's own defaults and SlowFast's recipe.
    """
    length_and_views(config, preset)
    if preset in MOTION:
        _network(config, "batch", 0.25, 0.2)
    elif preset == "ucf101":
        _network(config, "lrn", 1.0, 0.5)
    elif preset == "kinetics":
        slowfast_recipe(config)
        slowfast_views(config)
        config.data.short_side_max = 320
    elif preset != "mnist":
        _network(config, "batch", 0.25, 0.5)


def _network(config: ConfigDict, normalization: str, width_multiplier: float, dropout: float) -> None:
    config.model.normalization = normalization
    config.model.width_multiplier = width_multiplier
    config.model.dropout = dropout


def spaced_frames(config: ConfigDict, preset: str) -> None:
    """Clips of 10 frames that show a motion of `motion`, or both of `motion_hard`."""
    if preset in MOTION:
        config.data.stride = {"motion": 2, "motion_hard": 6}[preset]


def small_3d_recipe(config: ConfigDict, preset: str, *, has_dropout: bool = True) -> None:
    """3D networks on small machines: AdamW; on `motion` 16 frames see a whole clip, and fewer clips make a step."""
    length_and_views(config, preset)
    config.data.frames = 16
    if preset in MOTION:
        config.data.stride = 4 if preset == "motion_hard" else 1
        config.train.batch_size = 16
        config.train.steps = 1500
    if has_dropout:
        config.model.dropout = 0.2 if preset in MOTION else 0.5


def length_and_views(config: ConfigDict, preset: str) -> None:
    """How long networks are trained on a data set, and by how many clips a video is judged."""
    train, evaluate = config.train, config.evaluate
    if preset in MOTION:
        config.schedule.warmup_fraction = 0.05
        train.steps = 1000 if preset == "motion_hard" else 700
        evaluate.clips = 4 if preset == "motion_hard" else 3
    elif preset in ("ucf101_small", "folder"):
        config.schedule.warmup_fraction = 0.05
        train.validate_every = 100
        evaluate.clips = 10
        if preset == "folder":
            train.epochs = 30.0  # with many more, a hundred clips are learned by heart
            train.log_every = 10
            train.validate_every_fraction = 0.1
        else:
            train.steps = 300  # overfit a hundred clips; for all of UCF101 raise train.epochs and data.cache_gigabytes
    elif preset == "ucf101":
        config.optimizer.name = "momentum"
        config.optimizer.learning_rate = 1e-3
        config.optimizer.momentum = 0.9
        config.optimizer.l2 = 5e-4
        train.epochs = 100.0
        train.validate_every = 1000
        evaluate.clips = 20
        evaluate.flip = True
        config.checkpoint.every = 1000
    elif preset == "kinetics":
        config.optimizer.l2 = 1e-4
        train.batch_size = 64
        train.validate_every = 5000
        evaluate.clips = 10
        config.checkpoint.every = 2000
    elif preset == "mnist":
        config.optimizer.name = "adam"
        config.schedule.warmup_fraction = 0.02
        train.batch_size = 128
        train.epochs = 30.0
        train.validate_every = 250
        evaluate.clips = 1
        evaluate.batch_size = 100


def slowfast_recipe(config: ConfigDict) -> None:
    """Feichtenhofer et al. 2019, section 3.4: from scratch, 64 clips a step, half a cosine over 196 epochs."""
    config.optimizer.name = "nesterov"
    config.optimizer.learning_rate = 0.1
    config.optimizer.scale_with_batch = "linear"
    config.optimizer.base_batch_size = 64
    config.schedule.name = "half_cosine"
    config.schedule.warmup_epochs = 34.0
    config.schedule.warmup_from = 0.01
    config.train.epochs = 196.0


def slowfast_views(config: ConfigDict) -> None:
    """Feichtenhofer et al. 2019, section 4: three crops of 256 pixels of each clip."""
    config.evaluate.crops = "three"
    config.evaluate.crop = 256

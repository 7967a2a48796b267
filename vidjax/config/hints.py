"""Suggestions for unknown config keys, by the names of other frameworks and by spelling.

The words are those of PySlowFast, MMAction2, PyTorchVideo, Lightning, Transformers, timm and Scenic.
"""

from collections.abc import Collection

from vidjax.options.suggestions import closest_match

# Key -> what else it is called, in small letters and with underscores.
_WORDS = {
    "seed": "random_seed rng_seed manual_seed rng seed",
    "dtype": "precision amp use_amp fp16 bf16 mixed_precision half_precision half autocast compute_dtype",
    "train.batch_size": """
        bs batch batchsize batch_size train_batch_size videos_per_gpu samples_per_gpu minibatch_size mini_batch_size
        total_batch_size global_batch_size per_device_train_batch_size
        """,
    "evaluate.batch_size": "eval_batch_size test_batch_size val_batch_size per_device_eval_batch_size",
    "train.epochs": """
        epoch epochs n_epochs num_epochs max_epochs max_epoch nb_epochs total_epochs num_train_epochs
        num_training_epochs
        """,
    "train.steps": """
        step steps num_steps n_steps max_steps total_steps num_train_steps num_training_steps iters max_iters max_iter
        num_iters num_iterations max_iterations
        """,
    "train.log_every": "log_interval log_freq log_period log_steps logging_steps log_every_n_steps print_freq",
    "train.validate_every": """
        eval_every eval_interval eval_freq eval_period eval_steps val_every val_interval val_freq val_begin
        check_val_every_n_epoch val_check_interval log_eval_steps validate_interval validation_interval
        """,
    "train.grad_accum_steps": """
        accumulate accum_steps accumulation_steps accumulate_grad_batches gradient_accumulation_steps grad_accum
        update_freq
        """,
    "train.ema_decay": "ema model_ema model_ema_decay use_ema ema_rate",
    "train.early_stopping_patience": "stop_after patience early_stop early_stopping",
    "train.monitor": "save_best best_metric metric_for_best_model monitor_metric",
    "optimizer.name": "optim opt optimizer_name optimizer_type optimizing_method",
    "optimizer.learning_rate": """
        lr base_lr learning_rate learningrate max_lr peak_lr init_lr initial_lr base_learning_rate
        initial_learning_rate
        """,
    "optimizer.weight_decay": "wd weight_decay weightdecay decay_weight",
    "optimizer.momentum": "mom sgd_momentum",
    "optimizer.b1": "beta1 beta_1 adam_beta1 betas",
    "optimizer.b2": "beta2 beta_2 adam_beta2",
    "optimizer.eps": "epsilon adam_eps adam_epsilon opt_eps",
    "optimizer.clip_norm": """
        clip_grad grad_clip gradient_clip gradient_clip_val gradient_clipping max_grad_norm clip_grad_norm
        clip_grad_l2norm clip_gradient grad_norm_clip
        """,
    "schedule.name": "scheduler lr_scheduler lr_schedule lr_scheduler_type lr_policy lr_type schedule_type sched",
    "schedule.warmup_steps": "warmup warmup_iters num_warmup_steps warmup_iterations",
    "schedule.warmup_epochs": "warmup_epoch num_warmup_epochs",
    "schedule.warmup_fraction": "warmup_ratio warmup_frac warmup_proportion",
    "schedule.warmup_from": "warmup_start_lr warmup_lr warmup_init_lr",
    "schedule.final_fraction": "min_lr final_lr end_lr eta_min cosine_end_lr lr_min min_lr_ratio",
    "schedule.boundaries": "milestones lr_steps step_epochs lr_milestones",
    "schedule.decay_every_steps": "step_size decay_steps",
    "schedule.decay_rate": "gamma lr_gamma lr_decay decay_factor",
    "loss.label_smoothing": "smoothing label_smooth label_smoothing_factor label_smooth_eps smooth",
    "model.name": "arch architecture backbone net network model_name model_type depth num_layers resnet_depth",
    "model.dropout": "drop drop_rate dropout_rate dropout_ratio dropout_prob",
    "model.normalization": "norm norm_type norm_layer normalisation",
    "model.width_multiplier": "width_mult width_factor",
    "data.name": "dataset dataset_name dataset_type data_source",
    "data.root": """
        root path dir folder data_path data_dir data_root data_folder dataset_path dataset_dir dataset_root root_dir
        path_to_data_dir path_prefix data_prefix video_dir video_path video_root videos
        """,
    "data.annotations": """
        ann_file ann_path annotation annotation_file annotations_file annotation_path csv csv_file csv_path file_list
        train_csv train_list
        """,
    "data.splits": "split_dir splits_dir split_path split_file",
    "data.split": "fold split_id split_number",
    "data.validation": "val val_split val_ratio val_fraction val_size validation_split validation_fraction",
    "data.frames": """
        num_frames n_frames frames_per_clip clip_len clip_length clip_frames clip_size num_segments sequence_length
        seq_len window_size
        """,
    "data.stride": "frame_interval frame_stride sampling_rate sample_rate temporal_stride frame_step subsample",
    "data.fps": "frame_rate target_fps video_fps clip_fps",
    "data.short_side": "short_side_size short_edge resize_size scale_size min_side side_size train_jitter_scales",
    "data.workers": "num_workers n_workers workers workers_per_gpu dataloader_num_workers num_data_workers",
    "data.threads": "num_threads n_threads decode_threads reader_threads",
    "preprocessing.crop": """
        crop_size train_crop_size random_crop image_size img_size im_size imsize input_size resolution res spatial_size
        """,
    "preprocessing.flip": "hflip horizontal_flip random_flip random_horizontal_flip flip_ratio flip_prob",
    "preprocessing.brightness": "color_jitter colour_jitter jitter",
    "preprocessing.erasing": "random_erasing random_erase erasing_prob reprob",
    "preprocessing.mixup": "mixup_alpha use_mixup",
    "preprocessing.cutmix": "cutmix_alpha use_cutmix",
    "evaluate.clips": "num_clips num_views num_ensemble_views num_temporal_views clips_per_video test_num_clips",
    "evaluate.crops": "num_crops num_spatial_crops n_crops spatial_crops",
    "evaluate.crop": "test_crop_size eval_crop_size val_crop_size",
    "checkpoint.every": """
        save_every save_interval save_freq save_steps checkpoint_every checkpoint_interval checkpoint_period
        checkpoint_steps checkpointing_steps ckpt_every ckpt_interval ckpt_freq every_n_train_steps
        """,
    "checkpoint.keep": "max_to_keep max_keep_ckpts save_total_limit save_top_k keep_checkpoints",
    "batch_norm.precise_batches": "use_precise_stats num_batches_precise precise_bn",
}
# Words that mean something else in each section: they count in none, in `train` and in the section of their key.
_GENERIC = frozenset(
    ["decoder", "dir", "eps", "epsilon", "every", "folder", "gamma", "momentum", "path", "root", "wd", "weight_decay"]
)
# Keys whose values are of another kind than those of most other programs.
_NOTES = {
    "schedule.boundaries": "shares of the run",
    "schedule.final_fraction": "a share of the peak",
    "train.validate_every": "steps",
}
# What no key stands for -> its words.
_SENTENCES = {
    "training cannot start from pretrained weights: parameters are initialized at random": """
        pretrained pretrain pretrained_path pretrained_weights pretrained_model weights weights_path init_from
        init_weights init_checkpoint load_from load_weights from_pretrained checkpoint_path checkpoint_file
        checkpoint_file_path ckpt ckpt_path finetune finetune_from
        """,
    "runs resume by themselves: give the same --workdir": "resume resume_from auto_resume restore last_ckpt",
    "the classes are those of the data (data.name)": "num_classes n_classes nb_classes num_labels classes class_names",
    "all devices that JAX sees are used (CUDA_VISIBLE_DEVICES and JAX_PLATFORMS choose them); 'parallel' says how": """
        gpu gpus gpu_id gpu_ids n_gpus num_gpus device devices num_devices accelerator strategy distributed ddp
        world_size use_gpu cuda
        """,
    "results go to the flag --workdir": """
        output_dir output output_path out_dir outdir work_dir workdir save_dir save_path log_dir logdir exp_dir
        default_root_dir checkpoint_dir ckpt_dir results_dir
        """,
    "VIDJAX_CACHE=FOLDER says where data are cached": "cache_dir cache_path cache_folder",
}
_KEY_OF = {word: key for key, words in _WORDS.items() for word in words.split()}
_SENTENCE_OF = {word: sentence for sentence, words in _SENTENCES.items() for word in words.split()}
# Section -> what else it is called.
_SECTIONS = {
    "model": "net network backbone arch",
    "data": "dataset datasets dataloader loader input",
    "preprocessing": "augmentation augmentations augment aug transform transforms preprocess",
    "loss": "criterion losses",
    "optimizer": "optim opt solver optimiser",
    "schedule": "scheduler lr_scheduler lr_schedule sched",
    "train": "trainer training",
    "batch_norm": "bn batchnorm",
    "evaluate": "eval evaluation test val validation testing",
    "checkpoint": "ckpt checkpoints checkpointing",
}
_SECTION_OF = {word: section for section, words in _SECTIONS.items() for word in words.split()}


def suggestion(key: str, known: Collection[str]) -> str | None:
    """Returns the first of the keys that `hint` proposes for an unknown key, or None."""
    proposed = _proposed(*_split(key), known)
    return proposed[0] if proposed else None


def hint(key: str, known: Collection[str], prefix: str = "") -> str:
    """Returns what to append to a message about an unknown key.

    Args:
      key: as it was typed, e.g. "optimizer.lr".
      known: all keys, with dots.
      prefix: of the keys that are proposed, "--config." where flags are meant.

    Returns:
      "; did you mean 'optimizer.learning_rate'?", a sentence if no key does that, or the known keys.

    Example:
      >>> hint("train.lr", ["train.steps", "optimizer.learning_rate"])
      "; did you mean 'optimizer.learning_rate'?"
    """
    section, word = _split(key)
    proposed = _proposed(section, word, known)
    if proposed:
        shown = [f"{prefix + name!r}" + (f" ({_NOTES[name]})" if name in _NOTES else "") for name in proposed]
        return f"; did you mean {' or '.join(shown)}?"
    if section == "checkpoint" and word in _GENERIC:
        word = "checkpoint_dir"
    if word in _SENTENCE_OF:
        return f"; {_SENTENCE_OF[word]}"
    sections = dict.fromkeys(name.partition(".")[0] for name in known if "." in name)
    section = section if section in sections else closest_match(section, sections) or ""
    if section:
        names = [name.partition(".")[2] for name in known if name.startswith(f"{section}.")]
        return f" ({section} has: {', '.join(names)})"
    return f" (known: {', '.join([name for name in known if '.' not in name] + [f'{name}.*' for name in sections])})"


def _split(key: str) -> tuple[str, str]:
    """The section that is meant, or "", and the last word."""
    words = key.lower().replace("-", "_").split(".")
    return _SECTION_OF.get(words[0], words[0]) if len(words) > 1 else "", words[-1]


def _proposed(section: str, word: str, known: Collection[str]) -> list[str]:
    """The keys that may be meant: those synonyms, equal names in other sections, or similar spellings."""
    whole = f"{section}.{word}" if section else word
    if whole in known:
        return [whole]
    other = word in _GENERIC and section not in ("", "train")  # it may mean something else in this section
    meant = _KEY_OF.get(word, "")
    if meant in known and not (other and not meant.startswith(f"{section}.")):
        return [meant]
    if word in _SENTENCE_OF:
        return []
    ends: dict[str, list[str]] = {}
    for name in known:
        ends.setdefault(name.rpartition(".")[2], []).append(name)
    if word in ends and not other:
        return ends[word]
    sections = dict.fromkeys(name.partition(".")[0] for name in known if "." in name)
    section = section if section in sections else closest_match(section, sections) or ""
    inside = {name.partition(".")[2]: [name] for name in known if name.startswith(f"{section}.")} if section else ends
    near = closest_match(word, inside)
    return inside[near] if near is not None else []

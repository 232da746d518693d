"""Runs for other programs, and diffusers' pipelines as runs. In the process of `inkwash export` and `import`.

    formats.py      the formats of `inkwash export`
    pipeline.py     diffusers: a whole folder out, pipeline_import.py: in; neither needs diffusers
    programs.py     ONNX and torch.export files of the network (graphs.py) and of a whole sampler (sampler_table.py)
    card.py         the model card of every folder; hub.py sends it

diffusers and we write x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps (Ho et al. 2020, eq. 4), with alpha_bar_t
the product of 1 - beta_s over s <= t. What maps:

| Inkwash | diffusers | equation |
|---|---|---|
| schedule=linear | beta_schedule=linear | beta_t from 1e-4 to 0.02 in equal steps (Ho et al., sec. 4) |
| schedule=quadratic | scaled_linear | sqrt(beta_t) in equal steps |
| schedule=cosine | squaredcos_cap_v2 | alpha_bar(t) of Nichol & Dhariwal 2021, eq. 17 |
| other betas | trained_betas; in also sigmoid, laplace | the values one by one |
| zero_terminal_snr | rescale_betas_zero_snr | Lin et al. 2023, algorithm 1 |
| prediction eps, x0, v | epsilon, sample, v_prediction | Ho et al. eq. 14 (eps); Salimans & Ho 2022 (v) |
| variance FixedLarge, FixedSmall | fixed_large, fixed_small | beta_t, or the posterior's beta~_t (Ho et al. eq. 7) |
| LearnedRange | learned_range | Nichol & Dhariwal eq. 15 |
| sampler ancestral, clip | clip_sample, clip_sample_range | Ho et al. algorithm 2 |
| clip DynamicThreshold | thresholding, dynamic_thresholding_ratio | Saharia et al. 2022, sec. 2.3; s is not bounded |
| spacing trailing, leading, linspace | timestep_spacing | Lin et al. 2023, table 2 |
| t = 1 .. T of ours | t = 0 .. T - 1 of theirs | index of the step; their networks are given t - 1 |
| stretch_time, T other than 1000 | time_embedding_type=learned | a table: ours is given (t - 1) 1000 / T |
| label num_classes | the last class embedding | "no label" of classifier-free guidance; none with no_label=false |
| freq_shift, cos_first | freq_shift, flip_sin_to_cos | the time embedding |
| norm_eps, groups, head_dim | norm_eps, norm_num_groups, attention_head_dim | |
| scale_shift | resnet_time_scale_shift=scale_shift | Dhariwal & Nichol 2021 |
| middle_attention, middle_groups | add_attention, attn_norm_num_groups | |
| schedule and prediction flow | FlowMatchEulerDiscreteScheduler | x_t = (1 - t) x_0 + t eps (flow_scheduler.py) |

A DiT becomes a DiTTransformer2DModel, on pixels without a pipeline around it, as theirs draw latents; a network on
latents gets our pipeline with its autoencoder (latents.py).

Other paths without betas, prediction edm, and U-Nets that UNet2DModel cannot express are refused with a sentence.

Read first: pipeline.py (a whole folder). scheduler.py maps the table above, unet_config.py the network's arguments,
unet_weights.py its weights, dit_weights.py both of a DiT, pipeline_files.py reads files that may be damaged,
assets/pipeline.py is what diffusers runs for networks with classes. The maps are exact: exported and imported networks
agree to rounding, steps of the sampler too (tests/interop/).
"""

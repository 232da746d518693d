"""Networks: from a noisy image x_t, a time and perhaps a class to an output of the image's shape.

A network knows nothing of the process. The denoiser scales x_t, turns t into a float32 time input and says what the
output means (eps, x_0, v, ...); see network.py for all that is asked of a network.

unet.py is the U-Net of Ho et al. 2020, appendix B: residual blocks with the time added between their two convolutions,
self-attention at chosen resolutions, skip connections from the way down to the way up. Every residual branch and the
output start at zero. blocks.py holds its pieces.

dit.py is the diffusion transformer of Peebles & Xie 2023: patches as tokens, blocks of attention and MLP, conditioned
on time and class by adaptive normalisation. Its switches make SiT, LightningDiT and JiT of it. transformer.py holds its
blocks, positions.py what tells tokens where they are.

song.py has DDPM++ and NCSN++, the larger U-Nets of Song et al. 2021 with which Karras et al. 2022 (EDM) reach their
results on CIFAR-10; song_blocks.py their pieces. edm2.py is the U-Net of Karras et al. 2024 (EDM2), whose layers keep
the magnitude of what passes through them (magnitude.py), without norms. layout.py has what these U-Nets share: the
sizes of their maps and the order of their blocks.

Read network.py first. To add a network, write a module with `num_classes` and `forward(x, time, y=None)`: x of shape
(n, C, H, W), time (n,) float32 of about 0 to 1000, y (n,) int64 with -1 for no label, or None. A YAML in conf/model
names it and refers to ${data.shape} and ${data.num_classes}.
"""

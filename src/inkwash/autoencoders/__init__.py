"""Autoencoders for latent diffusion (Rombach et al. 2022): networks learn the latents z of images x instead of pixels.

    x  --moments-->  (m, log s^2)  --draw-->  z = std (m + s eps - mean) / dev,  eps ~ N(0, I)  --decode-->  x'

x is (n, C, H, W) in [-1, 1], z is (n, c, h, w); mean and dev are those of m + s eps in each channel over training
images, so that z has deviation `std` and a schedule means for latents what it means for pixels. An autoencoder without
a distribution (Tiny, Identity) has z = std (m - mean) / dev. It is not trained: `make train experiment=autoencoder`
trains one before (network.py).

`data.shape` stays the shape of the images, which metrics, grids and files have; `autoencoder.latent_shape` is that of
what network, sampler and noise see. The data module encodes (data/module.py), `samplers.generate` and
`editing.perform` decode. eps is a function of (seed, epoch, index of the image), so that a resumed run, or one on
other ranks, draws the same latents. Images and their mirror images are both encoded: the latents of a mirror image are
not mirrored latents.

This has nothing to do with the codes of editing/codecs.py, which are x_t of a diffusion.

Open base.py first. files.py finds an autoencoder and the shape of its latents without torch, pretrained.py wraps those
of diffusers, cache.py keeps moments on the disk, sameness.py compares the latents of two runs. A new one is a subclass
of Autoencoder and a YAML in conf/autoencoder/ with `shape` and `latent_shape`.
"""

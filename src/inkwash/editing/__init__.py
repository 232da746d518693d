"""Editing images with a trained denoiser, which was never trained for it.

    x_0 --encode--> z --(change)--> z' --decode--> x_0'        z is x_t over the standard deviation of the noise

    img2img       z ~ q(x_t | x_0), decoded by the sampler                 SDEdit, Meng et al. 2021
    reconstruct   z by DDIM's steps from data to noise, and back           Song et al. 2020, section 4.3
    interpolate   codes between those of two images                        Song et al. 2020, section 5.3
    inpaint       at every step the known pixels are drawn from q(x_s | x_0)    RePaint, Lugmayr et al. 2022

Read tasks.py first: what each task draws, row by row. codecs.py holds the two ways to z and back, repaint.py and
masks.py inpainting, perform.py the batches. To add a task, write `row` of a Task and a YAML in conf/task.
"""

"""NVIDIA DALI's operators for the CPU, a pipeline of them; its output is its own."""

import numpy as np


def dali(workload, threads):
    """``resize`` of a region of each image without a copy of it, RGB, ``crop_mirror_normalize``."""
    from nvidia.dali import fn, pipeline_def, types

    options, size = workload.options, list(workload.bins)

    @pipeline_def(
        batch_size=workload.rois,
        num_threads=threads,
        device_id=None,
        prefetch_queue_depth=1,
        exec_async=False,
        exec_pipelined=False,
    )
    def crops():
        picture = fn.external_source(name="picture", layout="HWC", no_copy=True)
        start, end = (fn.external_source(name=name, no_copy=True) for name in ("start", "end"))
        resized = fn.resize(
            picture,
            roi_start=start,
            roi_end=end,
            size=size,
            interp_type=types.INTERP_LINEAR,
            antialias=False,
        )
        turned = fn.color_space_conversion(resized, image_type=types.BGR, output_type=types.RGB)
        mean, std = ([options[name]] * 3 for name in ("mean", "std"))
        return fn.crop_mirror_normalize(turned, mean=mean, std=std, output_layout="CHW", dtype=types.FLOAT)

    pipeline = crops()
    pipeline.build()

    def prepare(features, rois, grad_output):
        images = np.ascontiguousarray(features.transpose(0, 2, 3, 1))
        pictures = [images[int(image)] for image in rois[:, 0]]
        starts, ends = (list(np.ascontiguousarray(rois[:, places])) for places in ([2, 1], [4, 3]))

        def call():
            pipeline.feed_input("picture", pictures)
            pipeline.feed_input("start", starts)
            pipeline.feed_input("end", ends)
            (made,) = pipeline.run()
            return np.asarray(made.as_tensor())

        return call

    return prepare

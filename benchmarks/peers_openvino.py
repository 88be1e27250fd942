"""OpenVINO as a peer: models of a single node, with bound arrays."""

import itertools

import numpy as np
from boxes import split


def openvino(workload, threads):
    """A model of a single ROIAlign-9 node; "half_pixel_for_nn" is what others call half pixel or aligned."""
    from openvino import opset9

    features = opset9.parameter(workload.input_shape, np.float32)
    rois = opset9.parameter((workload.rois, 4), np.float32)
    images = opset9.parameter((workload.rois,), np.int64)
    size, ratio, rule = workload.output_size, workload.sampling_ratio, "half_pixel_for_nn"
    pooled = opset9.roi_align(features, rois, images, size, size, ratio, 1.0, workload.mode, rule)
    bind = _compiled(threads, pooled, [features, rois, images])
    return lambda features, rois, grad_output: bind(features, *split(rois))


def openvino_pool(workload, threads):
    """A model of a single ROIPooling node."""
    from openvino import opset2

    features = opset2.parameter(workload.input_shape, np.float32)
    rois = opset2.parameter((workload.rois, 5), np.float32)
    pooled = opset2.roi_pooling(features, rois, [workload.output_size] * 2, 1.0, "max")
    bind = _compiled(threads, pooled, [features, rois])
    return lambda features, rois, grad_output: bind(features, rois)


def openvino_ps_pool(workload, threads):
    """A model of a single PSROIPooling node."""
    from openvino import opset1

    features = opset1.parameter(workload.input_shape, np.float32)
    rois = opset1.parameter((workload.rois, 5), np.float32)
    channels, size = workload.output_shape[1:3]
    pooled = opset1.psroi_pooling(features, rois, channels, size, 1.0, 1, 1, "average")
    bind = _compiled(threads, pooled, [features, rois])
    return lambda features, rois, grad_output: bind(features, rois)


def openvino_pyramid(workload, threads):
    """A model of a single ExperimentalDetectronROIFeatureExtractor node, which takes the maps of one image.

    Only the text of a model can name it.
    """
    import openvino as ov

    out = np.empty(workload.output_shape, np.float32)

    def prepare(features, rois, grad_output):
        maps = workload.maps(features)
        ends = np.searchsorted(rois[:, 0], range(workload.input_shape[0] + 1))
        images = []
        for image, (begin, end) in enumerate(itertools.pairwise(ends)):
            if begin == end:
                continue
            arrays = [np.ascontiguousarray(rois[begin:end, 1:]), *(each[image : image + 1] for each in maps)]
            core = ov.Core()
            model = core.read_model(_extractor(workload, [array.shape for array in arrays]).encode(), b"")
            bind = _binder(core.compile_model(model, "CPU", _settings(threads)))
            images.append((out[begin:end], bind(*arrays)))

        def call():
            for rows, pooled in images:
                rows[:] = pooled()
            return out

        return call

    return prepare


def _extractor(workload, shapes):
    # boxes and maps go in, what is pooled comes out
    last, size = len(shapes), workload.output_size
    pooled = shapes[0][0], shapes[1][1], size, size
    node = {
        "output_size": size,
        "sampling_ratio": workload.sampling_ratio,
        "pyramid_scales": ",".join(str(round(1 / scale)) for scale in workload.options["spatial_scales"]),
        "aligned": "false",
    }
    layers = [
        _layer(i, "Parameter", {"shape": ",".join(map(str, shape)), "element_type": "f32"}, [], [(0, shape)])
        for i, shape in enumerate(shapes)
    ]
    outputs = [(last, pooled), (last + 1, shapes[0])]
    layers.append(
        _layer(last, "ExperimentalDetectronROIFeatureExtractor", node, enumerate(shapes), outputs, "opset6")
    )
    layers.append(_layer(last + 1, "Result", {}, [(0, pooled)], []))
    ends = [(i, 0, last, i) for i in range(last)] + [(last, last, last + 1, 0)]
    edges = "".join(
        f'<edge from-layer="{a}" from-port="{b}" to-layer="{c}" to-port="{d}"/>' for a, b, c, d in ends
    )
    return f'<net name="pyramid" version="11"><layers>{"".join(layers)}</layers><edges>{edges}</edges></net>'


def _layer(number, kind, attributes, inputs, outputs, opset="opset1"):
    data = " ".join(f'{name}="{value}"' for name, value in attributes.items())
    first, second = (
        "".join(
            f'<port id="{port}" precision="FP32">{"".join(f"<dim>{n}</dim>" for n in shape)}</port>'
            for port, shape in ports
        )
        for ports in (inputs, outputs)
    )
    return (
        f'<layer id="{number}" name="{number}" type="{kind}" version="{opset}"><data {data}/>'
        f"<input>{first}</input><output>{second}</output></layer>"
    )


def _settings(threads):
    return {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}


def _compiled(threads, pooled, inputs):
    """Compile a model of nodes, and return what `_binder` does."""
    import openvino as ov

    return _binder(ov.Core().compile_model(ov.Model([pooled], inputs), "CPU", _settings(threads)))


def _binder(model):
    """Return what binds arrays: inputs are shared with it, its output is its own, always the same one."""
    import openvino as ov

    request = model.create_infer_request()

    def bind(*arrays):
        for index, array in enumerate(arrays):
            request.set_input_tensor(index, ov.Tensor(array, shared_memory=True))

        def call(kept=arrays):  # a shared tensor does not keep its array alive
            request.infer()
            return request.get_output_tensor().data

        return call

    return bind

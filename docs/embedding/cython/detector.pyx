"""A detector whose maps are its own C memory: it pools boxes and scores them without the interpreter's lock."""

from libc.math cimport sin
from libc.stdlib cimport free, malloc

from roicy.cython_api cimport Array, DType, RoIAlignOptions, contiguous, roi_align, roi_align_options, strided

cdef enum:
    CHANNELS = 32
    BINS = 7
    STRIDE = 8


cdef class Detector:
    """Scores boxes on a feature map of so many rows and columns."""

    cdef float* map             # (1, CHANNELS, height, width)
    cdef Py_ssize_t height, width

    def __cinit__(self, Py_ssize_t height, Py_ssize_t width):
        self.height, self.width = height, width
        self.map = <float*> malloc(CHANNELS * height * width * sizeof(float))
        if self.map == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.map)

    def score(self, float seed, const float[:, :] boxes, float[:] scores):
        """Write the largest value in each box (x1, y1, x2, y2, in pixels of the image) to `scores`."""
        cdef Py_ssize_t count = boxes.shape[0]
        if not 0 < count == scores.shape[0]:
            raise ValueError("expected boxes, and room for as many scores")
        cdef float* pooled = <float*> malloc(count * CHANNELS * BINS * BINS * sizeof(float))
        if pooled == NULL:
            raise MemoryError

        cdef Array features = contiguous(self.map, DType.FLOAT32, 1, CHANNELS, self.height, self.width)
        cdef Array rois = strided(&boxes[0, 0], DType.FLOAT32, 2, boxes.shape, boxes.strides)
        cdef Array out = contiguous(pooled, DType.FLOAT32, count, CHANNELS, BINS, BINS)
        cdef RoIAlignOptions options = roi_align_options()
        options.spatial_scale = 1.0 / STRIDE
        try:
            with nogil:
                backbone(self.map, CHANNELS * self.height * self.width, seed)
                roi_align(&features, &rois, &out, NULL, &options)
                head(pooled, CHANNELS * BINS * BINS, scores)
        finally:
            free(pooled)

    def features(self):
        """Return a copy of the map."""
        return (<float[:1, :CHANNELS, :self.height, :self.width]> self.map).copy()


cdef void backbone(float* map, Py_ssize_t size, float seed) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(size):
        map[i] = sin(seed * i)


cdef void head(const float* pooled, Py_ssize_t size, float[:] scores) noexcept nogil:
    cdef Py_ssize_t k, i
    for k in range(scores.shape[0]):
        scores[k] = pooled[k * size]
        for i in range(1, size):
            scores[k] = max(scores[k], pooled[k * size + i])

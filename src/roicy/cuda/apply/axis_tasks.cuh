/* How bins and channels are divided among warps: a task is some bins of a RoI in a group of channels. Also, what a
 * warp stores of a task's rows.
 *
 * Tasks are ordered by group, and by RoI within a group, so the planes in use stay in the L2 cache. */
#pragma once
#include "lanes/divide.cuh"
#include "tables/axis.cuh"

/* Channels of the map, of a group; rows and columns of bins of a task, at most ROWS and 32. Position-sensitive
 * maps have a channel for each bin, `apart` items from the next; else that is 0. */
struct Division {
    int64 apart;
    int channels, group, rows, columns;
};

struct Task {
    int64 k;
    int channel, channels; /* the first, and how many */
    int p, q, rows, columns;
};

INLINE int64 tasks_of(const Rois &rois, const Division &division) {
    const int parts_y = (rois.rows - 1) / division.rows + 1;
    const int parts_x = (rois.columns - 1) / division.columns + 1;
    return ((division.channels - 1) / division.group + 1) * rois.count * parts_y * parts_x;
}

/* `number` counts the groups, the RoIs for each, and for each of those the parts of its bins. */
INLINE Task task_of(int64 number, const Rois &rois, const Division &division) {
    const int parts_y = (rois.rows - 1) / division.rows + 1;
    const int parts_x = (rois.columns - 1) / division.columns + 1;
    const Divided of_roi = divided(number, parts_y * parts_x);
    const int64 group =
        rois.count >> 31 ? of_roi.quotient / rois.count : divided(of_roi.quotient, (int)rois.count).quotient;
    Task task;
    task.k = of_roi.quotient - group * rois.count;
    task.channel = (int)group * division.group;
    task.channels = min(division.group, division.channels - task.channel);
    task.p = of_roi.rest / parts_x * division.rows;
    task.q = of_roi.rest % parts_x * division.columns;
    task.rows = min(division.rows, rois.rows - task.p);
    task.columns = min(division.columns, rois.columns - task.q);
    return task;
}

/* blocks on a multiprocessor that registers are left for; where addresses are of 64 bits, or before sm_90, more
 * registers would spill */
#define BLOCKS (sizeof(REAL) + sizeof(INDEX) > 8 ? 1 : __CUDA_ARCH__ < 900 ? RESIDENT - 2 : RESIDENT)

/* How bins and channels are divided among warps: a task is some bins of a RoI in a group of channels. Also, what a
 * warp stores of a task's rows.
 *
 * The warps of a block have tasks that take the same time: the same bins, in neighbouring groups. Apart from that, tasks
 * are ordered by group, and by RoI within a group, so the planes in use stay in the L2 cache. */
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
    int64 k, place; /* the RoI; where the task would be if all of them were ordered by group, RoI and bins */
    int channel, channels; /* the first, and how many */
    int p, q, rows, columns;
};

INLINE int parts_of(int bins, int together) { return (bins - 1) / together + 1; }

INLINE int64 tasks_of(const Rois &rois, const Division &division) {
    return parts_of(division.channels, division.group) * rois.count * parts_of(rois.rows, division.rows) *
           parts_of(rois.columns, division.columns);
}

/* `number` counts the RoIs, and for each of them the parts of its bins, and for each of those WARPS groups; then the next
 * WARPS groups for all RoIs, and at last the groups that are left. */
INLINE Task task_of(int64 number, const Rois &rois, const Division &division) {
    const int parts_x = parts_of(rois.columns, division.columns);
    const int parts = parts_of(rois.rows, division.rows) * parts_x;
    const int groups = parts_of(division.channels, division.group), whole = groups / WARPS * WARPS;
    const int64 before = rois.count * parts * whole;
    const bool last = number >= before;
    const int abreast = last ? groups - whole : WARPS;
    const Divided of_bins = divided(last ? number - before : number, abreast);
    const Divided of_roi = divided(of_bins.quotient, parts);
    const int64 turn =
        rois.count >> 31 ? of_roi.quotient / rois.count : divided(of_roi.quotient, (int)rois.count).quotient;
    const int group = (last ? whole : 0) + (int)turn * abreast + of_bins.rest;
    Task task;
    task.k = of_roi.quotient - turn * rois.count;
    task.place = (group * rois.count + task.k) * parts + of_roi.rest;
    task.channel = group * division.group;
    task.channels = min(division.group, division.channels - task.channel);
    task.p = of_roi.rest / parts_x * division.rows;
    task.q = of_roi.rest % parts_x * division.columns;
    task.rows = min(division.rows, rois.rows - task.p);
    task.columns = min(division.columns, rois.columns - task.q);
    return task;
}

/* blocks on a multiprocessor that registers are left for; where addresses are of 64 bits, or before sm_90, more
 * registers would spill */
#define BLOCKS (sizeof(REAL) + sizeof(INDEX) > 8 ? 1 : __CUDA_ARCH__ < 900 ? RESIDENT - 8 / WARPS : RESIDENT)

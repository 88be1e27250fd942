/* The geometry as C code has it: each text twice, for boxes of floats (its functions are name_f) and of doubles
 * (name_d).
 *
 * A text is C that is C++ too. It finds
 *
 *     GEOMETRY    what stands before a function
 *     BOX         numbers of a box: float or double
 *     OF(name)    the name of what depends on BOX
 *     int64       a type of 64 bits
 *
 * here, and in cuda/lanes/types.cuh, where a source has one kind of box. It is compiled without contraction by
 * either compiler: positions, counts and decisions are the same bits. */
#ifndef ROICY_GEOMETRY_H
#define ROICY_GEOMETRY_H

#include <math.h>
#include <stdbool.h>

#define GEOMETRY static inline
typedef long long int64;

#define BOX float
#define OF(name) name##_f
#include "geometry/samples.h"
#undef BOX
#undef OF

#define BOX double
#define OF(name) name##_d
#include "geometry/samples.h"
#undef BOX
#undef OF

#endif

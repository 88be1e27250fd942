/* Neighbouring items, read or written at once. */
#pragma once

template <class T, int LENGTH> struct alignas(sizeof(T) * LENGTH < 16 ? sizeof(T) * LENGTH : 16) Pack {
    T item[LENGTH];
};

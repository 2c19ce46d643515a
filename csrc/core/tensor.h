#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "core/dtype.h"
#include "core/error.h"

namespace hotpath {

// A non-owning view of dense memory on one device. Dimensions 1.. are contiguous; dimension 0 may
// have a larger stride (row_stride), so that a slice of columns, such as q inside a fused qkv row,
// is a Tensor too.
struct Tensor {
  void* data = nullptr;
  DType dtype = DType::kF32;
  int ndim = 0;
  std::array<int64_t, 4> shape{};
  int64_t row_stride = 0;  // elements between index i and i+1 of dimension 0

  Tensor() = default;
  Tensor(void* data_, DType dtype_, std::initializer_list<int64_t> dims)
      : data(data_), dtype(dtype_) {
    check(dims.size() <= 4, "tensor rank: expected at most 4, received ", dims.size());
    for (int64_t d : dims) shape[ndim++] = d;
    row_stride = 1;
    for (int i = 1; i < ndim; ++i) row_stride *= shape[i];
  }

  explicit operator bool() const { return data != nullptr; }
  int64_t dim(int i) const { return shape[i]; }
  int64_t numel() const {
    int64_t n = 1;
    for (int i = 0; i < ndim; ++i) n *= shape[i];
    return n;
  }
  size_t bytes() const { return static_cast<size_t>(numel()) * dtype_size(dtype); }
  bool contiguous() const {
    int64_t inner = 1;
    for (int i = 1; i < ndim; ++i) inner *= shape[i];
    return row_stride == inner;
  }

  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
  // Pointer to row i of dimension 0.
  template <typename T>
  T* row(int64_t i) const {
    return static_cast<T*>(data) + i * row_stride;
  }
  // The first n rows.
  Tensor rows(int64_t n) const {
    check(n <= shape[0], "rows: expected at most ", shape[0], ", received ", n);
    Tensor t = *this;
    t.shape[0] = n;
    return t;
  }
  // Columns [begin, begin + n) of a 2-d tensor; keeps the row stride.
  Tensor columns(int64_t begin, int64_t n) const {
    check(ndim == 2 && begin >= 0 && begin + n <= shape[1], "columns: [", begin, ", ", begin + n,
          ") of ", to_string());
    Tensor t = *this;
    t.data = static_cast<char*>(data) + begin * static_cast<int64_t>(dtype_size(dtype));
    t.shape[1] = n;
    return t;
  }
  std::string to_string() const {
    std::string s(dtype_name(dtype));
    s += "[";
    for (int i = 0; i < ndim; ++i) s += (i ? ", " : "") + std::to_string(shape[i]);
    return s + "]";
  }
};

}  // namespace hotpath

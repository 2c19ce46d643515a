#pragma once

// NVIDIA's own GEMM beside ours, in labs only: cuBLASLt taken by dlopen, so that nothing links it.
// HOTPATH_LAB_CUBLAS names libcublas.so.N or libcublasLt.so.N; without it there is no comparison.

#include <dlfcn.h>

#include <cstdlib>
#include <string>
#include <type_traits>
#include <vector>

#include "lab.h"

namespace lab {

// One shape of y[M, N] = x[M, K] w[N, K]^T (+ y), bf16, contiguous, and what cuBLASLt's heuristics
// propose for it, best first.
class CublasLt {
 public:
  CublasLt(int64_t m, int64_t n, int64_t k, bool accumulate, int most) {
    const Library& lt = library();
    if (!lt.handle) return;
    beta_ = accumulate ? 1 : 0;
    const int transposed = 1;
    // Column-major: y^T[N, M] = (w^T)^T x^T.
    bool ok = lt.desc_create(&desc_, kComputeF32, kF32) == 0;
    ok = ok && lt.desc_set(desc_, kTransA, &transposed, sizeof transposed) == 0;
    ok = ok && lt.layout_create(&w_, kBF16, k, n, k) == 0;
    ok = ok && lt.layout_create(&x_, kBF16, k, m, k) == 0;
    ok = ok && lt.layout_create(&y_, kBF16, n, m, n) == 0;
    void* preference = nullptr;
    const size_t workspace = kWorkspace;
    ok = ok && lt.preference_create(&preference) == 0;
    ok = ok && lt.preference_set(preference, kMaxWorkspace, &workspace, sizeof workspace) == 0;
    found_.resize(most);
    int count = 0;
    ok = ok && lt.heuristic(lt.handle, desc_, w_, x_, y_, y_, preference, most, found_.data(),
                            &count) == 0;
    found_.resize(ok ? count : 0);
    if (!ok) std::printf("cublasLt: no algorithm for %d x %d x %d\n", int(m), int(n), int(k));
    if (preference) lt.preference_destroy(preference);
  }
  ~CublasLt() {
    for (void* layout : {w_, x_, y_})
      if (layout) library().layout_destroy(layout);
    if (desc_) library().desc_destroy(desc_);
  }
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;

  int count() const { return static_cast<int>(found_.size()); }
  // False where the algorithm failed.
  bool run(int algorithm, void* y, const void* x, const void* w, cudaStream_t stream) const {
    const float one = 1;
    const Library& lt = library();
    return lt.matmul(lt.handle, desc_, &one, w, w_, x, x_, &beta_, y, y_, y, y_,
                     &found_[algorithm].algorithm, lt.workspace, kWorkspace, stream) == 0;
  }

 private:
  // cublasLt.h's values, the same from version 11 to 13.
  static constexpr int kF32 = 0, kBF16 = 14, kComputeF32 = 68, kTransA = 3, kMaxWorkspace = 1;
  static constexpr size_t kWorkspace = 64 << 20;
  struct Found {
    uint64_t algorithm[8];
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
  };
  struct Library {
    void* handle = nullptr;
    void* workspace = nullptr;
    int (*desc_create)(void**, int, int) = nullptr;
    int (*desc_destroy)(void*) = nullptr;
    int (*desc_set)(void*, int, const void*, size_t) = nullptr;
    int (*layout_create)(void**, int, uint64_t, uint64_t, int64_t) = nullptr;
    int (*layout_destroy)(void*) = nullptr;
    int (*preference_create)(void**) = nullptr;
    int (*preference_destroy)(void*) = nullptr;
    int (*preference_set)(void*, int, const void*, size_t) = nullptr;
    int (*heuristic)(void*, void*, void*, void*, void*, void*, void*, int, Found*, int*) = nullptr;
    int (*matmul)(void*, void*, const void*, const void*, void*, const void*, void*, const void*,
                  const void*, void*, void*, void*, const void*, void*, size_t,
                  cudaStream_t) = nullptr;
  };

  static Library load() {
    Library lt;
    const char* named = std::getenv("HOTPATH_LAB_CUBLAS");
    if (!named) return lt;
    std::string path = named;
    const size_t at = path.rfind("libcublas.so");
    if (at != std::string::npos) path.replace(at, 12, "libcublasLt.so");
    void* library = dlopen(path.c_str(), RTLD_NOW);
    if (!library) {
      std::printf("cublasLt: %s\n", dlerror());
      return lt;
    }
    bool all = true;
    auto take = [&](auto& function, const char* name) {
      using Function = std::remove_reference_t<decltype(function)>;
      function = reinterpret_cast<Function>(dlsym(library, name));
      all = all && function;
    };
    int (*create)(void**) = nullptr;
    take(create, "cublasLtCreate");
    take(lt.desc_create, "cublasLtMatmulDescCreate");
    take(lt.desc_destroy, "cublasLtMatmulDescDestroy");
    take(lt.desc_set, "cublasLtMatmulDescSetAttribute");
    take(lt.layout_create, "cublasLtMatrixLayoutCreate");
    take(lt.layout_destroy, "cublasLtMatrixLayoutDestroy");
    take(lt.preference_create, "cublasLtMatmulPreferenceCreate");
    take(lt.preference_destroy, "cublasLtMatmulPreferenceDestroy");
    take(lt.preference_set, "cublasLtMatmulPreferenceSetAttribute");
    take(lt.heuristic, "cublasLtMatmulAlgoGetHeuristic");
    take(lt.matmul, "cublasLtMatmul");
    if (!all || create(&lt.handle) != 0) {
      std::printf("cublasLt: %s lacks a function, or does not start\n", path.c_str());
      lt.handle = nullptr;
      return lt;
    }
    lt.workspace = device_bytes(kWorkspace);
    return lt;
  }
  static const Library& library() {
    static const Library lt = load();
    return lt;
  }

  float beta_ = 0;
  void *desc_ = nullptr, *w_ = nullptr, *x_ = nullptr, *y_ = nullptr;
  std::vector<Found> found_;
};

}  // namespace lab

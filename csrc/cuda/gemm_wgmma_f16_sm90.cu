#include "cuda/device/gemm_wgmma_split.cuh"

namespace hotpath::cuda {

template void launch_wgmma<f16>(const Context&, const WgmmaPlan&, bool, const WgmmaMaps&,
                                const WgmmaParams&);
template void launch_wgmma_split<f16>(const Context&, const WgmmaPlan&, const WgmmaMaps&,
                                      const WgmmaParams&);

}  // namespace hotpath::cuda

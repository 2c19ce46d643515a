#include "cuda/device/gemm_wgmma.cuh"

namespace hotpath::cuda {

template void launch_wgmma<bf16>(const Context&, const WgmmaPlan&, bool, const WgmmaMaps&,
                                 const WgmmaParams&);

}  // namespace hotpath::cuda

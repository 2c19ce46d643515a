#include "harness.h"

namespace hotpath::test {

void add_host_cases(std::vector<Case>& cases) { (void)cases; }

}  // namespace hotpath::test

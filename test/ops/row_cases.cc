#include "harness.h"

namespace hotpath::test {

void add_row_cases(std::vector<Case>& cases) { (void)cases; }

}  // namespace hotpath::test
